// Package server builds the objects of one NFS server, a shard of an NFSBackend: pure functions, one file per object.
package server

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Shard is what the builders need to know of one server.
type Shard struct {
	// Backend is the custom resource.
	Backend *v1alpha1.NFSBackend
	// Number of the shard, from 0.
	Number int32
	// Namespace of all operands.
	Namespace string
	// Image of the server.
	Image string
	// Cluster is an identity of the cluster that outlives the operator. An external share belongs to one backend of one cluster.
	Cluster string
	// Claim is the live PersistentVolumeClaim of the disk, nil when there is none.
	Claim *corev1.PersistentVolumeClaim
	// Adopted is the disk of a former backend of this name that a new claim is to be bound to, nil when there is none.
	Adopted *corev1.PersistentVolume
	// KeepSize leaves the claim at the size that it has: the API server has refused to let it grow.
	KeepSize bool
	// Hostname is the value of the label kubernetes.io/hostname of the node that has the device, for storage.hosts.
	Hostname string
	// ServerID is the identity of the server on whose disk the volumes lie, as its agent once said; empty until one has.
	ServerID string
	// DiskID is the identity that an agent has found on the disk that is there now; empty where none has looked at it.
	DiskID string
	// Address is the ClusterIP that clients may have mounted from, empty when there never was one.
	Address string
	// InUse is whether the operands must not be deleted.
	InUse bool
	// DiskOnNetwork is whether the disk can follow the server to another node.
	DiskOnNetwork bool
}

// External tells whether the NFS server exists elsewhere: the shard is an agent only, and has no disk.
func (s Shard) External() bool { return s.Backend.Spec.External != nil }

func (s Shard) settings() v1alpha1.PodSettings {
	if s.External() {
		return s.Backend.Spec.External.PodSettings
	}
	return s.Backend.Spec.Server.PodSettings
}

// Name of the shard's objects.
func (s Shard) Name() string { return names.Shard(s.Backend.Name, s.Number) }

// ClaimName is the name of its disk's claim.
func (s Shard) ClaimName() string { return names.DataClaim(s.Backend.Name, s.Number) }

// Labels of the shard's objects.
func (s Shard) Labels() map[string]string {
	labels := meta.Shard(s.Backend.Name, s.Number)
	if s.External() {
		labels[names.LabelComponent] = names.ComponentExternal
	}
	return labels
}

// guardedLabels are the labels of operands whose deletion would cut off data.
func (s Shard) guardedLabels() map[string]string {
	labels := s.Labels()
	if s.InUse {
		labels[meta.LabelInUse] = "true"
	}
	return labels
}

// Size is what the disk's claim asks for.
func (s Shard) Size() resource.Quantity {
	size := s.Backend.Spec.Server.Storage.VolumeClaimTemplate.Size
	if s.Host() != nil {
		size = hostSize
	}
	if s.Claim == nil {
		return size
	}
	// An adopted disk may be larger than what is asked for now, and a claim cannot shrink.
	if live := s.Claim.Spec.Resources.Requests[corev1.ResourceStorage]; s.KeepSize || live.Cmp(size) > 0 {
		return live
	}
	return size
}

// Host is the node and device of this server, nil where the disk comes from a StorageClass and where there is none.
func (s Shard) Host() *v1alpha1.HostDevice {
	if s.External() {
		return nil
	}
	hosts := s.Backend.Spec.Server.Storage.Hosts
	for i := range hosts {
		if hosts[i].Shard == s.Number {
			return &hosts[i]
		}
	}
	return nil
}

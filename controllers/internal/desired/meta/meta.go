// Package meta holds the labels and annotations of the objects that the operator makes. A custom resource's own labels
// are not copied: Argo CD would take a child that carries app.kubernetes.io/instance for one of its own, and prune it.
package meta

import (
	"strconv"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

const (
	// LabelInUse marks the operands whose deletion would cut off data; the admission policy refuses it.
	LabelInUse = "storage.nfs-operator.io/in-use"
	// AnnotationTemplateHash is the hash of the pod template and of the configuration that a pod was made from.
	AnnotationTemplateHash = "storage.nfs-operator.io/template-hash"
	// AnnotationAccount on a pod is the UID of the ServiceAccount whose token it has: that of one made anew is another, and the API
	// server refuses the former.
	AnnotationAccount = "storage.nfs-operator.io/service-account-uid"
	// AnnotationReclaimPolicy notes on a disk's PersistentVolume the reclaim policy that it came with.
	AnnotationReclaimPolicy = "storage.nfs-operator.io/former-reclaim-policy"
	// AnnotationServerID notes on a disk's claim the identity of the server whose data lie on it, and on its PersistentVolume the one that
	// an agent has found there. Without it nothing was ever written there by an agent that this operator has seen.
	AnnotationServerID = "storage.nfs-operator.io/server-id"
	// AnnotationGiveUpServer on an NFSBackend names the identity of a server whose disk, and the volumes on it, are lost for good: the
	// disk that is there in its place may be used.
	AnnotationGiveUpServer = "storage.nfs-operator.io/give-up-server"
	// AnnotationTakeOverShare on an external NFSBackend names the owner from whom its share is to be taken over.
	AnnotationTakeOverShare = "storage.nfs-operator.io/take-over-share"
	// AnnotationPaused on a custom resource leaves its operands alone until it is taken off.
	AnnotationPaused = "storage.nfs-operator.io/paused"
)

// Shard is the labels of what belongs to one server of an NFSBackend.
func Shard(backend string, shard int32) map[string]string {
	labels := Backend(backend)
	labels[names.LabelShard] = strconv.Itoa(int(shard))
	return labels
}

// Backend is the labels of what belongs to an NFSBackend as a whole.
func Backend(backend string) map[string]string {
	labels := Component(names.ComponentServer)
	labels[names.LabelBackend] = backend
	return labels
}

// Component is the labels of what belongs to a part of the product.
func Component(component string) map[string]string {
	return map[string]string{names.LabelManagedBy: names.FieldOwner, names.LabelComponent: component}
}

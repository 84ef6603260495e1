// Package names holds every name that more than one part of nfs-operator must agree on: of API objects, labels,
// ports, files and directories.
package names

import (
	"fmt"
)

const (
	// Driver is the CSI driver's name.
	Driver = "csi.nfs-operator.io"
	// FieldOwner is the field manager of all that the operator applies.
	FieldOwner = "nfs-operator"
	// DefaultNamespace is where the operator and all its operands live unless it is installed elsewhere.
	DefaultNamespace = "nfs-operator-system"

	// ParameterProfile is the only parameter of a generated StorageClass: the StorageProfile's name.
	ParameterProfile = "profile"

	// LabelBackend names the NFSBackend that an object belongs to.
	LabelBackend = "storage.nfs-operator.io/backend"
	// LabelShard is the number of the shard that an object belongs to.
	LabelShard = "storage.nfs-operator.io/shard"
	// LabelComponent says which part of the product an object is: ComponentServer, ComponentExternal, ComponentController, ComponentNode.
	LabelComponent = "storage.nfs-operator.io/component"
	// LabelProfile names the StorageProfile that an object was generated from.
	LabelProfile = "storage.nfs-operator.io/profile"
	// LabelManagedBy is the recommended label; its value is FieldOwner.
	LabelManagedBy = "app.kubernetes.io/managed-by"

	// ComponentServer is an NFS server: a shard of an NFSBackend.
	ComponentServer = "nfs-server"
	// ComponentExternal is the agent of an NFS server that exists elsewhere: the only shard of an external NFSBackend.
	ComponentExternal = "external-agent"
	// ComponentController is the CSI controller.
	ComponentController = "csi-controller"
	// ComponentNode is the CSI node plugin.
	ComponentNode = "csi-node"

	// AnnotationAllowDeletion lets a delete pass that would otherwise be refused; its value is the object's name.
	AnnotationAllowDeletion = "storage.nfs-operator.io/allow-deletion"
	// Finalizer is what our custom resources and the data PVCs are held by.
	Finalizer = "storage.nfs-operator.io/protection"

	// SignerNode is the signer of the certificates by which node plugins identify themselves to agents.
	SignerNode = "storage.nfs-operator.io/csi-node"
	// ConfigMapCA holds the bundle (key KeyCA) that all parts trust.
	ConfigMapCA = "nfs-operator-ca"
	// SecretCA holds the certificate authority itself; only the manager reads it.
	SecretCA = "nfs-operator-ca"
	// SecretController holds the CSI controller's certificate.
	SecretController = "csi-controller-tls"
	// KeyCert, KeyKey and KeyCA are the keys of such Secrets and ConfigMaps, and the names of the files they become.
	KeyCert = "tls.crt"
	KeyKey  = "tls.key"
	KeyCA   = "ca.crt"

	// PortNFS is where clients reach an NFS server (RFC 8881).
	PortNFS = 2049
	// PortAgent is the agent's gRPC port.
	PortAgent = 9060
	// PortAgentHealth serves /livez, /readyz and /metrics of the agent.
	PortAgentHealth = 9061
	// PortControllerHealth serves the same of the CSI controller.
	PortControllerHealth = 9062
	// PortNodeHealth serves the same of the CSI node plugin, on the loopback address of the node.
	PortNodeHealth = 9063

	// DirTLS is where a pod finds its certificate, key and CA bundle.
	DirTLS = "/etc/nfs-operator/tls"
	// FileAgentConfig is where the agent finds its configuration (package agent/config).
	FileAgentConfig = "/etc/nfs-operator/config/agent.yaml"
	// KeyAgentConfig is its key in the shard's ConfigMap.
	KeyAgentConfig = "agent.yaml"
	// FileAgentExports is where the agent finds its static exports, and reads them again when they change.
	FileAgentExports = "/etc/nfs-operator/config/exports.yaml"
	// KeyAgentExports is their key in the shard's ConfigMap.
	KeyAgentExports = "exports.yaml"
	// DataDevice is the server's disk in the server pod. It must lie below /dev: libblkid looks for the file system's
	// UUID only there, and without it NFS file handles would contain the device number.
	DataDevice = "/dev/nfs-operator/data"
	// DataDir is where the agent mounts it.
	DataDir = "/data"
)

// Shard is the name of the StatefulSet (or Deployment), Service, ConfigMap, Secret and (as "data-" + Shard) PVC of one server of an
// NFSBackend, and the DNS name in the agent's certificate. A backend's name has at most 40 characters, so the result
// stays below the 52 from which StatefulSets make no pods (kubernetes#64023).
func Shard(backend string, shard int32) string { return fmt.Sprintf("nfsd-%d-%s", shard, backend) }

// DataClaim is the name of the PVC that holds the shard's disk.
func DataClaim(backend string, shard int32) string { return "data-" + Shard(backend, shard) }

package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// AccessMode says which clients reach volumes.
// +kubebuilder:validation:Enum=Staged;CIDRs
type AccessMode string

const (
	// AccessStaged admits the nodes that have a volume staged, and nobody else.
	AccessStaged AccessMode = "Staged"
	// AccessCIDRs admits every client of a list of networks to every volume.
	AccessCIDRs AccessMode = "CIDRs"
)

// VolumeAccess says which clients reach the volumes of a backend.
//
// +kubebuilder:validation:XValidation:rule="(self.mode == 'CIDRs') == (has(self.cidrs) && self.cidrs.size() > 0)",message="mode CIDRs needs a list of cidrs, and mode Staged has none"
type VolumeAccess struct {
	// mode is Staged, which admits a node to a volume only while it has that volume staged, or CIDRs, which admits all
	// clients of the listed networks to all volumes: for networks that show servers other addresses than a node
	// has. Every process that can send from such an address then reaches every volume.
	// +optional
	// +default="Staged"
	Mode AccessMode `json:"mode,omitempty"`
	// cidrs are the networks of mode CIDRs.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	CIDRs []CIDR `json:"cidrs,omitempty"`
}

// CIDR is a network, such as 10.0.0.0/8 or fd00::/48.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=43
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="must be a network such as 10.0.0.0/8 or fd00::/48"
type CIDR string

// StaticExport is a shared directory of a server that is no volume: it is mounted by hand, or by a PersistentVolume that a
// person writes with the volume handle `<backend>/<shard>/e-<name>`. Taking one off the list ends its export and deletes
// nothing: put back, the same directory is exported again.
//
// +kubebuilder:validation:XValidation:rule="self.shard == oldSelf.shard",message="shard is immutable: the data lie on that server's disk"
// +kubebuilder:validation:XValidation:rule="(has(self.path) ? self.path : self.name) == (has(oldSelf.path) ? oldSelf.path : oldSelf.name)",message="path is immutable: another directory is another export"
type StaticExport struct {
	// name of the export. Clients mount /e-<name>.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`
	// path of the directory below exports/ on the server's disk; the export's name where it is absent. It is made when
	// it does not exist. No export's path may be or lie within another's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^[a-z0-9A-Z_][-a-z0-9A-Z_.]*(/[a-z0-9A-Z_][-a-z0-9A-Z_.]*){0,7}$`
	Path string `json:"path,omitempty"`
	// shard is the number of the server whose disk holds the directory, from 0.
	// +optional
	// +default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=63
	Shard int32 `json:"shard"`
	// size is enforced, and set aside on the disk as for a volume; less than 1Mi counts as 1Mi. A smaller one takes effect for what is written from
	// then on.
	// +required
	Size resource.Quantity `json:"size,omitzero"`
	// clients who may mount it, beside the nodes that stage it as a volume. Where networks overlap, the smallest one
	// decides.
	// +optional
	// +listType=map
	// +listMapKey=cidr
	// +kubebuilder:validation:MaxItems=32
	Clients []ExportClient `json:"clients,omitempty"`
	// squash says whose user ids the server replaces by anonymousUID and anonymousGID: nobody's (None), those of root
	// (Root), everybody's (All).
	// +optional
	// +default="Root"
	// +kubebuilder:validation:Enum=None;Root;All
	Squash string `json:"squash,omitempty"`
	// anonymousUID is the user that squashed ones become.
	// +optional
	// +default=65534
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967294
	AnonymousUID int64 `json:"anonymousUID"`
	// anonymousGID is the group that squashed ones become.
	// +optional
	// +default=65534
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967294
	AnonymousGID int64 `json:"anonymousGID"`
}

// ExportClient is a network of clients.
type ExportClient struct {
	// cidr is the network; a single host has the prefix length /32 (IPv6: /128).
	// +required
	CIDR CIDR `json:"cidr,omitempty"`
	// access is what they may do.
	// +optional
	// +default="ReadWrite"
	Access ExportAccess `json:"access,omitempty"`
}

// ExportAccess says what clients may do.
// +kubebuilder:validation:Enum=ReadWrite;ReadOnly
type ExportAccess string

const (
	// ExportReadWrite is everything.
	ExportReadWrite ExportAccess = "ReadWrite"
	// ExportReadOnly is reading.
	ExportReadOnly ExportAccess = "ReadOnly"
)

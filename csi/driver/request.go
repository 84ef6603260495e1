package driver

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/validation"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

const (
	mib = 1 << 20
	gib = 1 << 30
	// smallestVolume is the least that is made, whatever is asked for.
	smallestVolume = mib
	// usualVolume is made where no size is asked for, which Kubernetes never does.
	usualVolume = gib
	// longestName is the CSI specification's limit for strings.
	longestName = 128

	// What external-provisioner adds with --extra-create-metadata.
	parameterClaimName      = "csi.storage.k8s.io/pvc/name"
	parameterClaimNamespace = "csi.storage.k8s.io/pvc/namespace"
	parameterVolumeName     = "csi.storage.k8s.io/pv/name"
	// What external-snapshotter adds with the same option.
	parameterSnapshotName      = "csi.storage.k8s.io/volumesnapshot/name"
	parameterSnapshotNamespace = "csi.storage.k8s.io/volumesnapshot/namespace"
	parameterContentName       = "csi.storage.k8s.io/volumesnapshotcontent/name"
)

var (
	volumeParameters   = []string{names.ParameterProfile, parameterClaimName, parameterClaimNamespace, parameterVolumeName}
	snapshotParameters = []string{parameterSnapshotName, parameterSnapshotNamespace, parameterContentName}
)

// createVolume is a CreateVolumeRequest that makes sense.
type createVolume struct {
	name           string
	required       int64
	limit          int64
	profile        string
	claimNamespace string
	claimName      string
	modes          []csi.VolumeCapability_AccessMode_Mode
	attributes     attributes
	fromVolume     *volumeid.Volume
	fromSnapshot   *volumeid.Snapshot
}

func parseCreateVolume(req *csi.CreateVolumeRequest) (createVolume, error) {
	r := createVolume{name: req.GetName()}
	if err := checkName(r.name); err != nil {
		return r, err
	}
	if err := checkCapabilities(req.GetVolumeCapabilities()); err != nil {
		return r, err
	}
	for _, c := range req.GetVolumeCapabilities() {
		r.modes = append(r.modes, c.GetAccessMode().GetMode())
	}
	var err error
	if r.attributes, err = parseAttributes(req.GetMutableParameters()); err != nil {
		return r, err
	}
	if r.required, r.limit, err = parseRange(req.GetCapacityRange()); err != nil {
		return r, err
	}
	if err := r.parseParameters(req.GetParameters()); err != nil {
		return r, err
	}
	return r, r.parseSource(req.GetVolumeContentSource())
}

func checkName(name string) error {
	if name == "" {
		return invalid("name is missing")
	}
	if len(name) > longestName {
		return invalid("name is longer than %d bytes", longestName)
	}
	return nil
}

func (r *createVolume) parseParameters(parameters map[string]string) error {
	if err := checkParameters(parameters, volumeParameters); err != nil {
		return err
	}
	r.profile = parameters[names.ParameterProfile]
	if r.profile == "" {
		return invalid("parameter %q is missing: it names a StorageProfile", names.ParameterProfile)
	}
	r.claimName, r.claimNamespace = parameters[parameterClaimName], parameters[parameterClaimNamespace]
	return nil
}

// checkParameters lets the known ones pass, and only with values that are names of Kubernetes objects.
func checkParameters(parameters map[string]string, known []string) error {
	for key, value := range parameters {
		if !slices.Contains(known, key) {
			return invalid("unknown parameter %.100q: known are %s", key, strings.Join(known, ", "))
		}
		if problems := validation.IsDNS1123Subdomain(value); len(problems) > 0 {
			return invalid("parameter %q: %.100q is not a name of a Kubernetes object", key, value)
		}
	}
	return nil
}

func (r *createVolume) parseSource(source *csi.VolumeContentSource) error {
	switch s := source.GetType().(type) {
	case nil:
		if source != nil {
			return invalid("volume_content_source is empty")
		}
	case *csi.VolumeContentSource_Volume:
		v, err := volumeid.ParseVolume(s.Volume.GetVolumeId())
		if err != nil {
			return err
		}
		if _, ok := v.Export(); ok {
			return invalid("%s is a static export, and only volumes can be cloned", v)
		}
		r.fromVolume = &v
	case *csi.VolumeContentSource_Snapshot:
		v, err := volumeid.ParseSnapshot(s.Snapshot.GetSnapshotId())
		if err != nil {
			return err
		}
		r.fromSnapshot = &v
	default:
		return invalid("volume_content_source is of an unknown kind")
	}
	return nil
}

// source is the shard of the volume or snapshot that the new volume is copied from.
func (r createVolume) source() (volumeid.Shard, bool) {
	switch {
	case r.fromVolume != nil:
		return r.fromVolume.Shard, true
	case r.fromSnapshot != nil:
		return r.fromSnapshot.Shard, true
	default:
		return volumeid.Shard{}, false
	}
}

func parseRange(r *csi.CapacityRange) (required, limit int64, err error) {
	required, limit = r.GetRequiredBytes(), r.GetLimitBytes()
	switch {
	case required < 0 || limit < 0:
		return 0, 0, invalid("capacity_range is negative")
	case limit > 0 && required > limit:
		return 0, 0, invalid("capacity_range requires %d bytes and limits them to %d", required, limit)
	case limit > 0 && limit < smallestVolume:
		return 0, 0, status.Errorf(codes.OutOfRange, "the smallest volume has %d bytes, the limit is %d", smallestVolume, limit)
	}
	return required, limit, nil
}

// volumeSpec is what the agent will keep of the profile for the volume's whole life.
func (r createVolume) volumeSpec(p *v1alpha1.StorageProfile) (*agentv1.VolumeSpec, error) {
	// The API server has checked all of these; a profile that came past it is its owner's to mend.
	mode, err := strconv.ParseUint(cmp.Or(p.Spec.Directory.Mode, "0777"), 8, 12)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "StorageProfile %q: directory.mode %q is not octal", p.Name, p.Spec.Directory.Mode)
	}
	const nobody = 65534
	spec := &agentv1.VolumeSpec{
		Bytes: r.bytes(p), Mode: uint32(mode), Uid: id(p.Spec.Directory.UID, 0), Gid: id(p.Spec.Directory.GID, 0),
		Squash:       squash[p.Spec.Squash.Mode],
		AnonymousUid: id(p.Spec.Squash.AnonymousUID, nobody), AnonymousGid: id(p.Spec.Squash.AnonymousGID, nobody),
		OnDelete: onDelete[p.Spec.OnDelete], Profile: p.Name,
		ClaimNamespace: r.claimNamespace, ClaimName: r.claimName,
	}
	if p.Spec.MaxVolumeSize != nil {
		spec.MaxBytes = p.Spec.MaxVolumeSize.Value()
	}
	r.attributes.apply(spec)
	return spec, nil
}

var squash = map[v1alpha1.SquashMode]agentv1.Squash{
	"":                  agentv1.Squash_SQUASH_NONE,
	v1alpha1.SquashNone: agentv1.Squash_SQUASH_NONE,
	v1alpha1.SquashRoot: agentv1.Squash_SQUASH_ROOT,
	v1alpha1.SquashAll:  agentv1.Squash_SQUASH_ALL,
}

var onDelete = map[v1alpha1.OnDeletePolicy]agentv1.OnDelete{
	"":                       agentv1.OnDelete_ON_DELETE_DELETE,
	v1alpha1.OnDeleteDelete:  agentv1.OnDelete_ON_DELETE_DELETE,
	v1alpha1.OnDeleteArchive: agentv1.OnDelete_ON_DELETE_ARCHIVE,
	v1alpha1.OnDeleteRetain:  agentv1.OnDelete_ON_DELETE_RETAIN,
}

func id(value *int64, otherwise uint32) uint32 {
	if value == nil || *value < 0 || *value > 1<<32-2 {
		return otherwise
	}
	return uint32(*value)
}

// bytes is what the volume gets: what is required, or the usual size within the profile's bounds.
func (r createVolume) bytes(p *v1alpha1.StorageProfile) int64 {
	bytes := r.required
	if bytes == 0 {
		bytes = usualVolume
		if least := p.Spec.MinVolumeSize; least != nil {
			bytes = max(bytes, least.Value())
		}
		if r.limit > 0 {
			bytes = min(bytes, r.limit)
		}
		if most := p.Spec.MaxVolumeSize; most != nil {
			bytes = min(bytes, most.Value())
		}
	}
	return max(bytes, smallestVolume)
}

func checkCapabilities(capabilities []*csi.VolumeCapability) error {
	if len(capabilities) == 0 {
		return invalid("volume capabilities are missing")
	}
	for _, c := range capabilities {
		if err := checkCapability(c); err != nil {
			return err
		}
	}
	return nil
}

func checkCapability(c *csi.VolumeCapability) error {
	switch {
	case c == nil:
		return invalid("volume capability is missing")
	case c.GetBlock() != nil:
		return invalid("volumes are file systems: volumeMode Block is not supported")
	case c.GetMount() == nil:
		return invalid("access type of the volume capability is missing")
	case c.GetAccessMode().GetMode() == csi.VolumeCapability_AccessMode_UNKNOWN:
		return invalid("access mode of the volume capability is missing")
	}
	return mount.CheckOptions(c.GetMount().GetMountFlags())
}

// singleNode reports whether an access mode admits one node at a time.
func singleNode(mode csi.VolumeCapability_AccessMode_Mode) bool {
	switch mode {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
		return true
	default:
		return false
	}
}

// singleTarget reports whether an access mode admits one target path at a time.
func singleTarget(mode csi.VolumeCapability_AccessMode_Mode) bool {
	return singleNode(mode) && mode != csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
}

func readOnly(mode csi.VolumeCapability_AccessMode_Mode) bool {
	return mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY ||
		mode == csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
}

// checkPath wants an absolute path that says where it leads.
func checkPath(field, path string) error {
	switch {
	case path == "":
		return invalid("%s is missing", field)
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" || strings.ContainsRune(path, 0):
		return invalid("%s is not a clean absolute path", field)
	}
	return nil
}

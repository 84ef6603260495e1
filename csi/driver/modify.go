package driver

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/container-storage-interface/spec/lib/go/csi"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// The mutable parameters: those of a VolumeAttributesClass. They are what can change while pods use the volume, under the
// names that a StorageProfile has for them.
const (
	attributeSquash       = "squash"       // None, Root, All
	attributeAnonymousUID = "anonymousUID" // 0..4294967294
	attributeAnonymousGID = "anonymousGID"
	attributeOnDelete     = "onDelete" // Delete, Archive, Retain
	attributeInodes       = "inodes"   // files that the volume may hold; "default" is the usual number for its size
)

// attributes are a volume's mutable parameters; what is nil was not given.
type attributes struct {
	squash                     *agentv1.Squash
	anonymousUID, anonymousGID *uint32
	onDelete                   *agentv1.OnDelete
	inodes                     *int64
}

func parseAttributes(parameters map[string]string) (attributes, error) {
	var a attributes
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		if err := a.set(key, parameters[key]); err != nil {
			return a, err
		}
	}
	return a, nil
}

func (a *attributes) set(key, value string) (err error) {
	switch key {
	case attributeSquash:
		a.squash, err = choose(key, v1alpha1.SquashMode(value), squash)
	case attributeOnDelete:
		a.onDelete, err = choose(key, v1alpha1.OnDeletePolicy(value), onDelete)
	case attributeAnonymousUID:
		a.anonymousUID, err = parseID(key, value)
	case attributeAnonymousGID:
		a.anonymousGID, err = parseID(key, value)
	case attributeInodes:
		a.inodes, err = parseInodes(value)
	default:
		return invalid("unknown mutable parameter %.100q: known are %s, %s, %s, %s, %s", key,
			attributeAnonymousGID, attributeAnonymousUID, attributeInodes, attributeOnDelete, attributeSquash)
	}
	return err
}

func choose[K ~string, V any](key string, value K, known map[K]V) (*V, error) {
	if v, ok := known[value]; ok && value != "" {
		return &v, nil
	}
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(known)), func(k K) bool { return k == "" })
	return nil, invalid("mutable parameter %q is %.100q: known are %s", key, value, join(keys))
}

func parseID(key, value string) (*uint32, error) {
	const none = 1<<32 - 1 // which chown(2) takes for "do not change"
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil || n == none {
		return nil, invalid("mutable parameter %q is %.100q: it must be a number of 0 to %d", key, value, none-1)
	}
	id := uint32(n)
	return &id, nil
}

// parseInodes leaves the bounds to the agent, which knows the disk.
func parseInodes(value string) (*int64, error) {
	if value == "default" {
		return new(int64), nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n <= 0 {
		return nil, invalid("mutable parameter %q is %.100q: it must be a number of files above 0, or \"default\"", attributeInodes, value)
	}
	return &n, nil
}

// apply has the attributes take precedence over the profile's, as the specification wants it.
func (a attributes) apply(spec *agentv1.VolumeSpec) {
	replace(&spec.Squash, a.squash)
	replace(&spec.AnonymousUid, a.anonymousUID)
	replace(&spec.AnonymousGid, a.anonymousGID)
	replace(&spec.OnDelete, a.onDelete)
	replace(&spec.Inodes, a.inodes)
}

func replace[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// ControllerModifyVolume implements CSI. Parameters that are not given stay as they are.
func (c *Controller) ControllerModifyVolume(ctx context.Context, req *csi.ControllerModifyVolumeRequest) (*csi.ControllerModifyVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, invalid("volume_id is missing")
	}
	v, err := volumeid.ParseVolume(req.GetVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	if _, ok := v.Export(); ok {
		return nil, invalid("%s is a static export: change it in spec.server.exports of NFSBackend %q", v, v.Shard.Backend)
	}
	a, err := parseAttributes(req.GetMutableParameters())
	if err != nil {
		return nil, err
	}
	release, s, err := c.open(ctx, v)
	if err != nil {
		return nil, toStatus(err)
	}
	defer release()
	_, err = s.agent.ModifyVolume(ctx, &agentv1.ModifyVolumeRequest{
		Id: v.ID, Squash: a.squash, AnonymousUid: a.anonymousUID, AnonymousGid: a.anonymousGID, OnDelete: a.onDelete, Inodes: a.inodes,
	})
	if err != nil {
		return nil, toStatus(agentError(v.Shard, err))
	}
	return &csi.ControllerModifyVolumeResponse{}, nil
}

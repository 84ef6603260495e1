package service

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

var squashes = map[agentv1.Squash]store.Squash{
	agentv1.Squash_SQUASH_UNSPECIFIED: store.SquashNone,
	agentv1.Squash_SQUASH_NONE:        store.SquashNone,
	agentv1.Squash_SQUASH_ROOT:        store.SquashRoot,
	agentv1.Squash_SQUASH_ALL:         store.SquashAll,
}

var onDeletes = map[agentv1.OnDelete]store.OnDelete{
	agentv1.OnDelete_ON_DELETE_UNSPECIFIED: store.OnDeleteDelete,
	agentv1.OnDelete_ON_DELETE_DELETE:      store.OnDeleteDelete,
	agentv1.OnDelete_ON_DELETE_ARCHIVE:     store.OnDeleteArchive,
	agentv1.OnDelete_ON_DELETE_RETAIN:      store.OnDeleteRetain,
}

// specFrom refuses values that this version does not know.
func specFrom(s *agentv1.VolumeSpec) (store.Spec, error) {
	squash, ok := squashes[s.GetSquash()]
	if !ok {
		return store.Spec{}, fmt.Errorf("%w: squash %v", engine.ErrInvalid, s.GetSquash())
	}
	onDelete, ok := onDeletes[s.GetOnDelete()]
	if !ok {
		return store.Spec{}, fmt.Errorf("%w: onDelete %v", engine.ErrInvalid, s.GetOnDelete())
	}
	return store.Spec{
		Bytes: s.GetBytes(), Mode: s.GetMode(), UID: s.GetUid(), GID: s.GetGid(),
		Squash: squash, AnonymousUID: s.GetAnonymousUid(), AnonymousGID: s.GetAnonymousGid(), OnDelete: onDelete,
		Profile: s.GetProfile(), MaxBytes: s.GetMaxBytes(), Inodes: s.GetInodes(),
		ClaimNamespace: s.GetClaimNamespace(), ClaimName: s.GetClaimName(),
	}, nil
}

func changeFrom(req *agentv1.ModifyVolumeRequest) (engine.Change, error) {
	c := engine.Change{AnonymousUID: req.AnonymousUid, AnonymousGID: req.AnonymousGid, Inodes: req.Inodes, MaxBytes: req.MaxBytes}
	if req.Squash != nil {
		squash, ok := squashes[req.GetSquash()]
		if !ok {
			return c, fmt.Errorf("%w: squash %v", engine.ErrInvalid, req.GetSquash())
		}
		c.Squash = &squash
	}
	if req.OnDelete != nil {
		onDelete, ok := onDeletes[req.GetOnDelete()]
		if !ok {
			return c, fmt.Errorf("%w: onDelete %v", engine.ErrInvalid, req.GetOnDelete())
		}
		c.OnDelete = &onDelete
	}
	return c, nil
}

func specTo(s store.Spec) *agentv1.VolumeSpec {
	out := &agentv1.VolumeSpec{
		Bytes: s.Bytes, Mode: s.Mode, Uid: s.UID, Gid: s.GID,
		AnonymousUid: s.AnonymousUID, AnonymousGid: s.AnonymousGID,
		Profile: s.Profile, MaxBytes: s.MaxBytes, Inodes: s.Inodes, ClaimNamespace: s.ClaimNamespace, ClaimName: s.ClaimName,
	}
	switch s.Squash {
	case store.SquashRoot:
		out.Squash = agentv1.Squash_SQUASH_ROOT
	case store.SquashAll:
		out.Squash = agentv1.Squash_SQUASH_ALL
	case store.SquashNone:
		out.Squash = agentv1.Squash_SQUASH_NONE
	}
	switch s.OnDelete {
	case store.OnDeleteArchive:
		out.OnDelete = agentv1.OnDelete_ON_DELETE_ARCHIVE
	case store.OnDeleteRetain:
		out.OnDelete = agentv1.OnDelete_ON_DELETE_RETAIN
	case store.OnDeleteDelete:
		out.OnDelete = agentv1.OnDelete_ON_DELETE_DELETE
	}
	return out
}

func volumeTo(v store.Volume, nodes []string) *agentv1.Volume {
	return &agentv1.Volume{
		Id: v.ID, Name: v.Name, Spec: specTo(v.Spec), Created: timestamppb.New(v.Created), Nodes: nodes,
		SourceVolumeId: v.SourceVolume, SourceSnapshotId: v.SourceSnapshot,
	}
}

// CapacityTo translates.
func CapacityTo(c engine.Capacity) *agentv1.Capacity {
	return &agentv1.Capacity{
		TotalBytes: c.Total, AllocatedBytes: c.Allocated, AvailableBytes: c.Available, UsedBytes: c.Used,
	}
}

func grantFrom(g *agentv1.Grant) store.Grant {
	return store.Grant{Generation: g.GetGeneration(), ReadOnly: g.GetReadOnly(), SingleNode: g.GetSingleNode()}
}

// page cuts a list that is in order of ids. It returns the id to go on behind, empty at the end.
func page[T any](all []T, limit int32, id func(T) string) ([]T, string) {
	if limit <= 0 || int(limit) >= len(all) {
		return all, ""
	}
	all = all[:limit]
	return all, id(all[limit-1])
}

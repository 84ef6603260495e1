package service

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

func snapshotTo(s store.Snapshot) *agentv1.Snapshot {
	return &agentv1.Snapshot{
		Id: s.ID, Name: s.Name, SourceVolumeId: s.SourceVolume, Bytes: s.Bytes,
		Created: timestamppb.New(s.Created), Ready: s.State == store.StateReady,
	}
}

// CreateSnapshot implements the service.
func (s *Service) CreateSnapshot(ctx context.Context, req *agentv1.CreateSnapshotRequest) (*agentv1.Snapshot, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	snap, err := c.Engine.CreateSnapshot(ctx, req.GetName(), req.GetSourceVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	return snapshotTo(snap), nil
}

// DeleteSnapshot implements the service.
func (s *Service) DeleteSnapshot(ctx context.Context, req *agentv1.DeleteSnapshotRequest) (*agentv1.DeleteSnapshotResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	if err := c.Engine.DeleteSnapshot(ctx, req.GetId()); err != nil {
		return nil, toStatus(err)
	}
	return &agentv1.DeleteSnapshotResponse{}, nil
}

// ListSnapshots implements the service.
func (s *Service) ListSnapshots(_ context.Context, req *agentv1.ListSnapshotsRequest) (*agentv1.ListSnapshotsResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	all := c.Engine.Snapshots(req.GetAfterId(), req.GetSourceVolumeId(), req.GetUnfinished())
	if id := req.GetId(); id != "" {
		all = onlyID(all, id)
	}
	snapshots, next := page(all, req.GetMaxEntries(), func(s store.Snapshot) string { return s.ID })
	out := &agentv1.ListSnapshotsResponse{NextAfterId: next}
	for _, snap := range snapshots {
		out.Snapshots = append(out.Snapshots, snapshotTo(snap))
	}
	return out, nil
}

func onlyID(all []store.Snapshot, id string) []store.Snapshot {
	for _, s := range all {
		if s.ID == id {
			return []store.Snapshot{s}
		}
	}
	return nil
}

package driver

import (
	"context"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// CreateSnapshot implements CSI. A snapshot lies on the server of its volume.
func (c *Controller) CreateSnapshot(ctx context.Context, req *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if err := checkName(req.GetName()); err != nil {
		return nil, err
	}
	if req.GetSourceVolumeId() == "" {
		return nil, invalid("source_volume_id is missing")
	}
	if err := checkParameters(req.GetParameters(), snapshotParameters); err != nil {
		return nil, err
	}
	v, err := volumeid.ParseVolume(req.GetSourceVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	if _, ok := v.Export(); ok {
		return nil, invalid("%s is a static export, and only volumes have snapshots", v)
	}
	key := "snapshot " + req.GetName()
	if !c.locks.TryAcquire(key) {
		return nil, busy(key)
	}
	defer c.locks.Release(key)
	s, err := c.server(ctx, v.Shard)
	if err != nil {
		return nil, toStatus(err)
	}
	release, err := c.admitSnapshot(ctx, s, req.GetName(), v.ID)
	if err != nil {
		return nil, toStatus(err)
	}
	defer release()
	made, err := s.agent.CreateSnapshot(ctx, &agentv1.CreateSnapshotRequest{Name: req.GetName(), SourceVolumeId: v.ID})
	if err != nil {
		return nil, toStatus(agentError(v.Shard, err))
	}
	if !made.GetReady() { // an agent of an earlier version: CSI has no success before the snapshot is cut
		return nil, status.Errorf(codes.Aborted, "snapshot %q is being made: repeat the call", req.GetName())
	}
	return &csi.CreateSnapshotResponse{Snapshot: snapshot(v.Shard, made)}, nil
}

// admitSnapshot refuses a new snapshot of a volume that has as many as its profile allows, or on a backend that is being
// deleted. Snapshots that are counted are begun one at a time: release ends that.
func (c *Controller) admitSnapshot(ctx context.Context, s server, name, volume string) (release func(), err error) {
	v, err := s.agent.GetVolume(ctx, &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Id{Id: volume}})
	// A snapshot outlives its volume, and its creation may be repeated.
	if err != nil && status.Code(err) != codes.NotFound {
		return nil, agentError(s.Shard, err)
	}
	p, err := c.profileOf(ctx, v)
	if err != nil {
		return nil, err
	}
	release = func() {}
	limited := p != nil && p.Spec.Snapshots.MaxSnapshots != nil
	if !limited && !s.Deleting {
		return release, nil
	}
	if limited {
		key := "snapshots of " + s.Shard.String() + "/" + volume
		if !c.locks.TryAcquire(key) {
			return nil, busy(key)
		}
		release = func() { c.locks.Release(key) }
	}
	names, err := snapshotsOf(ctx, s, volume)
	switch {
	case err != nil:
	case slices.Contains(names, name): // as long as it is made, others may begin
		release()
		return func() {}, nil
	case s.Deleting:
		err = beingDeleted(s)
	case len(names) >= int(*p.Spec.Snapshots.MaxSnapshots):
		err = status.Errorf(codes.ResourceExhausted, "the volume has %d snapshots, and snapshots.maxSnapshots of StorageProfile %q is %d: "+
			"delete one", len(names), p.Name, *p.Spec.Snapshots.MaxSnapshots)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// snapshotsOf lists the CSI names of a volume's snapshots, and of those that are being made.
func snapshotsOf(ctx context.Context, s server, volume string) ([]string, error) {
	var names []string
	for after := ""; ; {
		page, err := s.agent.ListSnapshots(ctx, &agentv1.ListSnapshotsRequest{SourceVolumeId: volume, AfterId: after, MaxEntries: agentPage, Unfinished: true})
		if err != nil {
			return nil, agentError(s.Shard, err)
		}
		for _, one := range page.GetSnapshots() {
			names = append(names, one.GetName())
		}
		if after = page.GetNextAfterId(); after == "" {
			return names, nil
		}
	}
}

// DeleteSnapshot implements CSI.
func (c *Controller) DeleteSnapshot(ctx context.Context, req *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if req.GetSnapshotId() == "" {
		return nil, invalid("snapshot_id is missing")
	}
	id, err := volumeid.ParseSnapshot(req.GetSnapshotId())
	if err != nil {
		return &csi.DeleteSnapshotResponse{}, nil // CSI: what cannot exist is deleted
	}
	key := id.String()
	if !c.locks.TryAcquire(key) {
		return nil, busy("snapshot " + key)
	}
	defer c.locks.Release(key)
	s, err := c.server(ctx, id.Shard)
	if err != nil {
		return nil, toStatus(err)
	}
	if _, err := s.agent.DeleteSnapshot(ctx, &agentv1.DeleteSnapshotRequest{Id: id.ID}); err != nil {
		return nil, toStatus(agentError(id.Shard, err))
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

// GetSnapshot implements CSI.
func (c *Controller) GetSnapshot(ctx context.Context, req *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	if req.GetSnapshotId() == "" {
		return nil, invalid("snapshot_id is missing")
	}
	id, err := volumeid.ParseSnapshot(req.GetSnapshotId())
	if err != nil {
		return nil, toStatus(err)
	}
	s, err := c.server(ctx, id.Shard)
	if err != nil {
		return nil, toStatus(err)
	}
	page, err := s.agent.ListSnapshots(ctx, &agentv1.ListSnapshotsRequest{Id: id.ID})
	if err != nil {
		return nil, toStatus(agentError(id.Shard, err))
	}
	if len(page.GetSnapshots()) == 0 {
		return nil, status.Errorf(codes.NotFound, "no snapshot %s", id)
	}
	return &csi.GetSnapshotResponse{Snapshot: snapshot(id.Shard, page.GetSnapshots()[0])}, nil
}

// ListSnapshots implements CSI.
func (c *Controller) ListSnapshots(ctx context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	from, err := begin(req.GetMaxEntries(), req.GetStartingToken(), func(token string) (place, error) {
		last, err := volumeid.ParseSnapshot(token)
		return place{last.Shard, last.ID}, err
	})
	if err != nil {
		return nil, err
	}
	selected, ok := selectSnapshots(req)
	if !ok {
		return &csi.ListSnapshotsResponse{}, nil
	}
	servers, err := c.selectServers(ctx, selected.shard)
	if err != nil {
		return nil, toStatus(err)
	}
	entries, more, err := list(ctx, c, servers, from, int(req.GetMaxEntries()), selected.read)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &csi.ListSnapshotsResponse{Entries: entries}
	if more {
		resp.NextToken = entries[len(entries)-1].GetSnapshot().GetSnapshotId()
	}
	return resp, nil
}

// selection is which snapshots are asked for.
type selection struct {
	shard        *volumeid.Shard // nil is all
	id, volumeID string
}

// selectSnapshots reports false when no snapshot can be what is asked for.
func selectSnapshots(req *csi.ListSnapshotsRequest) (selection, bool) {
	var sel selection
	if handle := req.GetSnapshotId(); handle != "" {
		id, err := volumeid.ParseSnapshot(handle)
		if err != nil {
			return sel, false
		}
		sel.shard, sel.id = &id.Shard, id.ID
	}
	if handle := req.GetSourceVolumeId(); handle != "" {
		v, err := volumeid.ParseVolume(handle)
		if err != nil || sel.shard != nil && *sel.shard != v.Shard {
			return sel, false
		}
		sel.shard, sel.volumeID = &v.Shard, v.ID
	}
	return sel, true
}

func (c *Controller) selectServers(ctx context.Context, shard *volumeid.Shard) ([]catalog.Server, error) {
	if shard == nil {
		return c.catalog.AllServers(ctx)
	}
	s, err := c.catalog.Server(ctx, *shard)
	return []catalog.Server{s}, err
}

func (sel selection) read(ctx context.Context, s server, after string, most int32) ([]*csi.ListSnapshotsResponse_Entry, string, error) {
	page, err := s.agent.ListSnapshots(ctx, &agentv1.ListSnapshotsRequest{
		AfterId: after, MaxEntries: most, Id: sel.id, SourceVolumeId: sel.volumeID,
	})
	if err != nil {
		return nil, "", err
	}
	var entries []*csi.ListSnapshotsResponse_Entry
	for _, one := range page.GetSnapshots() {
		entries = append(entries, &csi.ListSnapshotsResponse_Entry{Snapshot: snapshot(s.Shard, one)})
	}
	return entries, page.GetNextAfterId(), nil
}

func snapshot(shard volumeid.Shard, s *agentv1.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId:     volumeid.Snapshot{Shard: shard, ID: s.GetId()}.String(),
		SourceVolumeId: volumeid.Volume{Shard: shard, ID: s.GetSourceVolumeId()}.String(),
		SizeBytes:      s.GetBytes(),
		CreationTime:   s.GetCreated(),
		ReadyToUse:     s.GetReady(),
	}
}

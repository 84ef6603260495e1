package driver

import (
	"cmp"
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// agentPage is how many entries are asked of an agent at once: an answer of all of 10,000 volumes would be larger than
// gRPC takes.
const agentPage = 1000

// place is where a list begins: behind an id of a shard. Handles are its tokens: they stay good when objects come and
// go between two pages.
type place struct {
	shard volumeid.Shard
	after string
}

// pager reads one shard's entries behind an id, at most so many, and says behind which id the next ones are, or
// nothing at the end.
type pager[T any] func(ctx context.Context, s server, after string, most int32) ([]T, string, error)

// list gathers entries of all shards in order, behind a place, at most so many (0 is all). It reports whether more may
// follow.
func list[T any](ctx context.Context, c *Controller, servers []catalog.Server, from place, most int, read pager[T]) ([]T, bool, error) {
	var entries []T
	for _, one := range servers {
		order := compareShards(one.Shard, from.shard)
		if order < 0 {
			continue
		}
		after := ""
		if order == 0 {
			after = from.after
		}
		s, err := c.connect(one)
		if err != nil {
			return nil, false, err
		}
		for {
			if most > 0 && len(entries) == most {
				return entries, true, nil
			}
			want := int32(agentPage)
			if most > 0 {
				want = int32(min(agentPage, most-len(entries))) // at most agentPage
			}
			page, next, err := read(ctx, s, after, want)
			if err != nil {
				// Not a shorter list: what is missing from it would be taken for deleted.
				return nil, false, agentError(s.Shard, err)
			}
			entries = append(entries, page...)
			if after = next; after == "" {
				break
			}
		}
	}
	return entries, false, nil
}

func compareShards(a, b volumeid.Shard) int {
	return cmp.Or(cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Number, b.Number))
}

// begin reads where a list is to begin, and checks how many entries are wanted. parse reads a token.
func begin(most int32, token string, parse func(string) (place, error)) (place, error) {
	if most < 0 {
		return place{}, invalid("max_entries is negative")
	}
	if token == "" {
		return place{}, nil
	}
	from, err := parse(token)
	if err != nil {
		// By the specification: the caller should start again without a token.
		return place{}, status.Error(codes.Aborted, "starting_token is not one of this driver's: list from the beginning")
	}
	return from, nil
}

// ListVolumes implements CSI.
func (c *Controller) ListVolumes(ctx context.Context, req *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	from, err := begin(req.GetMaxEntries(), req.GetStartingToken(), func(token string) (place, error) {
		last, err := volumeid.ParseVolume(token)
		return place{last.Shard, last.ID}, err
	})
	if err != nil {
		return nil, err
	}
	servers, err := c.catalog.AllServers(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	entries, more, err := list(ctx, c, servers, from, int(req.GetMaxEntries()), readVolumes)
	if err != nil {
		return nil, toStatus(err)
	}
	resp := &csi.ListVolumesResponse{Entries: entries}
	if more {
		resp.NextToken = entries[len(entries)-1].GetVolume().GetVolumeId()
	}
	return resp, nil
}

func readVolumes(ctx context.Context, s server, after string, most int32) ([]*csi.ListVolumesResponse_Entry, string, error) {
	page, err := s.agent.ListVolumes(ctx, &agentv1.ListVolumesRequest{AfterId: after, MaxEntries: most})
	if err != nil {
		return nil, "", err
	}
	var entries []*csi.ListVolumesResponse_Entry
	for _, v := range page.GetVolumes() {
		entries = append(entries, &csi.ListVolumesResponse_Entry{Volume: &csi.Volume{
			VolumeId:      volumeid.Volume{Shard: s.Shard, ID: v.GetId()}.String(),
			CapacityBytes: v.GetSpec().GetBytes(),
		}})
	}
	return entries, page.GetNextAfterId(), nil
}

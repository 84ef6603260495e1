package driver

import (
	"context"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// GetCapacity implements CSI. Servers that do not answer have nothing to offer now.
func (c *Controller) GetCapacity(ctx context.Context, req *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	if err := checkParameters(req.GetParameters(), volumeParameters); err != nil {
		return nil, err
	}
	if caps := req.GetVolumeCapabilities(); len(caps) > 0 {
		if err := checkCapabilities(caps); err != nil {
			return &csi.GetCapacityResponse{}, nil //nolint:nilerr // of such volumes there is no room for any
		}
	}
	list, err := c.offered(ctx, req.GetParameters()[names.ParameterProfile])
	if err != nil {
		return nil, toStatus(err)
	}
	list = slices.DeleteFunc(list, func(s catalog.Server) bool { return s.Deleting })
	servers, err := c.connectAll(list)
	if err != nil {
		return nil, toStatus(err)
	}
	room, err := rooms(ctx, servers)
	if err != nil {
		return &csi.GetCapacityResponse{}, nil //nolint:nilerr // none of them answers
	}
	return capacityOf(room), nil
}

func (c *Controller) offered(ctx context.Context, profile string) ([]catalog.Server, error) {
	if profile == "" {
		return c.catalog.AllServers(ctx)
	}
	p, err := c.catalog.Profile(ctx, profile)
	if err != nil {
		return nil, err
	}
	return c.catalog.Servers(ctx, p)
}

// capacityOf adds the servers' room up; a volume lies on one of them.
func capacityOf(room []int64) *csi.GetCapacityResponse {
	var sum, largest int64
	for _, bytes := range room {
		sum += max(bytes, 0)
		largest = max(largest, bytes)
	}
	return &csi.GetCapacityResponse{
		AvailableCapacity: sum,
		MaximumVolumeSize: wrapperspb.Int64(largest),
		MinimumVolumeSize: wrapperspb.Int64(smallestVolume),
	}
}

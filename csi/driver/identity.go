// Package driver is the CSI driver: the services of the Container Storage Interface, version 1.13
// (https://github.com/container-storage-interface/spec/blob/v1.13.0/spec.md). They check what they are asked, and pass
// it on: the controller to the agents of the NFS servers, the node to an agent and the kernel.
package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/version"
)

// Identity is the CSI Identity service of both plugins.
type Identity struct {
	csi.UnimplementedIdentityServer

	ready func() bool
}

// NewIdentity makes an Identity; ready says whether the plugin can serve.
func NewIdentity(ready func() bool) *Identity { return &Identity{ready: ready} }

// GetPluginInfo implements CSI.
func (*Identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: names.Driver, VendorVersion: version.Version}, nil
}

// GetPluginCapabilities implements CSI. There is no topology: every node reaches every server.
func (*Identity) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{
			Type: csi.PluginCapability_Service_CONTROLLER_SERVICE,
		}}},
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{
			Type: csi.PluginCapability_VolumeExpansion_ONLINE,
		}}},
	}}, nil
}

// Probe implements CSI.
func (i *Identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(i.ready())}, nil
}

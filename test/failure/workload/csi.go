package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// callTimeout is the kubelet's for a call to a CSI driver.
const callTimeout = 2 * time.Minute

// call is a request to a node plugin, as a line of JSON.
type call struct {
	RPC     string `json:"rpc"` // stage, publish, stats, unpublish or unstage
	Volume  string `json:"volume"`
	Staging string `json:"staging"`
	Target  string `json:"target"`
}

// called is its answer.
type called struct {
	RPC     string  `json:"rpc"`
	Seconds float64 `json:"seconds"`
	Code    string  `json:"code"`
	Message string  `json:"message,omitempty"`
}

// callCSI makes the calls that stand on standard input, one after the other, as the kubelet would.
func callCSI(socket string) error {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	node, in, out := csi.NewNodeClient(conn), json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c call
		if err := in.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read call: %w", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		begin := time.Now()
		err := c.make(ctx, node)
		cancel()
		answer := called{c.RPC, time.Since(begin).Seconds(), status.Code(err).String(), ""}
		if err != nil {
			answer.Message = err.Error()
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

func (c call) make(ctx context.Context, node csi.NodeClient) (err error) {
	capability := &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	}
	switch c.RPC {
	case "stage":
		if err := os.MkdirAll(c.Staging, 0o750); err != nil {
			return err
		}
		_, err = node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: c.Volume, StagingTargetPath: c.Staging, VolumeCapability: capability})
	case "publish":
		_, err = node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: c.Volume, StagingTargetPath: c.Staging, TargetPath: c.Target, VolumeCapability: capability})
	case "stats":
		_, err = node.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: c.Volume, VolumePath: c.Target})
	case "unpublish":
		_, err = node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: c.Volume, TargetPath: c.Target})
	case "unstage":
		_, err = node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: c.Volume, StagingTargetPath: c.Staging})
	default:
		err = fmt.Errorf("no call %q", c.RPC)
	}
	return err
}

//go:build vm

package agent

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

func TestForeignDisksAreRefusedAndHealWhenWiped(t *testing.T) {
	cases := map[string]struct {
		prepare func(t *testing.T)
		names   string // what the message must name
	}{
		"ext4": {func(t *testing.T) {
			t.Helper()
			host.Wipe(t, host.DiskSmall)
			if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-L", "precious", host.DiskSmall).CombinedOutput(); err != nil {
				t.Fatalf("mkfs.ext4: %v: %s", err, out)
			}
		}, `ext4 file system with label "precious"`},
		"garbage at the start": {func(t *testing.T) {
			t.Helper()
			writeAt(t, host.DiskSmall, 4096, "something")
		}, "at byte 4096"},
		"garbage at the end": {func(t *testing.T) {
			t.Helper()
			writeAt(t, host.DiskSmall, 2*gib-10, "something")
		}, "at byte 2147483638"},
		"another's XFS": {func(t *testing.T) {
			t.Helper()
			host.Wipe(t, host.DiskSmall)
			if out, err := exec.Command("mkfs.xfs", "-q", "-f", "-L", "theirs", host.DiskSmall).CombinedOutput(); err != nil {
				t.Fatalf("mkfs.xfs: %v: %s", err, out)
			}
		}, `xfs file system with label "theirs"`},
	}
	h := host.New(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.prepare(t)
			before := head(t, host.DiskSmall)
			a := h.Start(t, h.Config(host.DiskSmall))
			eventually(t, 20*time.Second, "refused", func() bool {
				code, body := a.Get("/readyz")
				return code == http.StatusServiceUnavailable && strings.HasPrefix(body, "DeviceNotBlank: ") && strings.Contains(body, c.names)
			})
			if code, _ := a.Get("/livez"); code != http.StatusOK {
				t.Error("a refused disk must not restart the pod")
			}
			st, err := h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
			if err != nil || st.GetServing() || st.GetReason() != "DeviceNotBlank" {
				t.Errorf("status %v, %v", st, err)
			}
			if head(t, host.DiskSmall) != before {
				t.Fatal("the disk was changed")
			}
			host.Wipe(t, host.DiskSmall)
			a.WaitServing(t)
		})
	}
}

func writeAt(t *testing.T, device string, at int64, text string) {
	t.Helper()
	host.Wipe(t, device)
	f, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		t.Fatal(err)
	}
}

func head(t *testing.T, device string) string {
	t.Helper()
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := make([]byte, 1<<20)
	if _, err := f.ReadAt(text, 0); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnInterruptedFormatIsMadeAnew(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskSmall)
	a := h.Start(t, h.Config(host.DiskSmall))
	a.WaitServing(t)
	a.Stop(t)
	inProgress := []byte{1}
	f, err := os.OpenFile(host.DiskSmall, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(inProgress, 126); err != nil { // sb_inprogress
		t.Fatal(err)
	}
	f.Close()
	if got, err := xfs.Inspect(context.Background(), host.DiskSmall); err != nil || got.Kind != xfs.Unfinished {
		t.Fatalf("inspected as %+v, %v", got, err)
	}
	h.Start(t, h.Config(host.DiskSmall)).WaitServing(t)
}

func TestACleanStopUnmountsAndADiskServesAgain(t *testing.T) {
	h, a := serving(t)
	v := create(t, h.Controller(t), "pvc-kept", 16*mib)
	before, err := h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if took := a.Stop(t); took > 30*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if _, err := os.Stat(filepath.Join(h.DataDir(), "volumes")); err == nil {
		t.Error("the disk is still mounted")
	}
	h.Start(t, h.Config(host.DiskLarge)).WaitServing(t)
	after, err := h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if after.GetServerId() != before.GetServerId() || after.GetVolumes() != 1 || after.GetMkfsOptions() != "lts_5.15" || after.GetGaneshaVersion() != "15.2" {
		t.Errorf("status %v, before %v", after, before)
	}
	got, err := h.Controller(t).GetVolume(within(t, 60*time.Second), &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Name{Name: "pvc-kept"}})
	if err != nil || got.GetId() != v.GetId() {
		t.Errorf("volume %v, %v", got, err)
	}
}

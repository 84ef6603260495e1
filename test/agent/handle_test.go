//go:build vm

package agent

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/agent/nfs4"
)

// TestHandlesSurviveAnotherDevice moves a disk to another device number under a running mount. A file stays open, and works on.
// Then the handle that the disk remembers is another one, as if what Ganesha sees of the device had changed: nothing may be served.
func TestHandlesSurviveAnotherDevice(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskSmall)
	a := h.Start(t, h.Config(host.DiskSmall))
	a.WaitServing(t)
	v := create(t, h.Controller(t), "pvc-moved", 64*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId()))
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Errorf("write: %v", err)
		}
		if err := f.Sync(); err != nil {
			t.Errorf("sync: %v", err)
		}
	}
	write("before ")
	before := handleOf(t, v.GetId())
	a.Stop(t)
	attach(t, host.DiskSmall, otherNumber)
	a = h.Start(t, h.Config(otherNumber))
	a.WaitServing(t)
	write("after")
	if text, err := os.ReadFile(filepath.Join(h.DataDir(), "volumes", v.GetId(), "file")); err != nil || string(text) != "before after" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if after := handleOf(t, v.GetId()); after != before {
		t.Errorf("the volume's handle was %s, is %s", before, after)
	}
	testTheTrialServerTellsTheTruth(t, h)
	testAnotherHandleIsNotServed(t, h, a, dir)
}

func handleOf(t *testing.T, id string) string {
	t.Helper()
	c, err := nfs4.Dial(nfsAddress, "handles")
	if err != nil {
		t.Fatal(err)
	}
	handle, err := c.Lookup(id)
	if err := errors.Join(err, c.Leave()); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(handle)
}

// testTheTrialServerTellsTheTruth compares what the agent has recorded with a handle of the server that clients use: all but the
// export's number and the object's must be the same.
func testTheTrialServerTellsTheTruth(t *testing.T, h *host.Host) {
	t.Helper()
	recorded := record(t, h).ProbeHandle
	v := create(t, h.Controller(t), "pvc-compare", 16*mib)
	open(t, h.Node(t, "node-a"), v.GetId())
	real := handleOf(t, v.GetId())
	const exportID = 2 * nfs4.ExportIDOffset
	system := func(handle string) string { return handle[:exportID] + "...." + handle[exportID+4:len(handle)-16] }
	t.Logf("trial %s, real %s", recorded, real)
	if len(recorded) != len(real) || !strings.HasPrefix(system(real), system(recorded)[:exportID+4+32]) {
		t.Errorf("the trial server's handle %s is not made like the real server's %s", recorded, real)
	}
}

func testAnotherHandleIsNotServed(t *testing.T, h *host.Host, a *host.Agent, dir string) {
	t.Helper()
	server := record(t, h)
	right := server.ProbeHandle
	server.ProbeHandle = right[:20] + "ff" + right[22:]
	writeRecord(t, h, server)
	a.Kill()
	a = h.Start(t, h.Config(otherNumber))
	eventually(t, 90*time.Second, "refused", func() bool {
		_, body := a.Get("/readyz")
		return strings.HasPrefix(body, "HandleWouldChange: ")
	})
	st, err := h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
	if err != nil || st.GetServing() || st.GetReason() != "HandleWouldChange" || !strings.Contains(st.GetMessage(), right) {
		t.Errorf("status %v, %v", st, err)
	}
	if c, err := nfs4.Dial(nfsAddress, "nobody"); err == nil {
		c.Vanish()
		t.Error("port 2049 is open")
	}
	server.ProbeHandle = right
	writeRecord(t, h, server)
	a.Kill()
	h.Start(t, h.Config(otherNumber)).WaitServing(t)
	if _, err := os.ReadFile(filepath.Join(dir, "file")); err != nil {
		t.Errorf("the mount that waited: %v", err)
	}
}

func record(t *testing.T, h *host.Host) (s store.Server) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.DataDir(), ".nfs-operator/server.json"))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func writeRecord(t *testing.T, h *host.Host, s store.Server) {
	t.Helper()
	text, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(filepath.Join(h.DataDir(), ".nfs-operator/server.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// otherNumber is the small disk under another device number.
const otherNumber = "/dev/loop7"

// attach makes a loop device of a disk, until the end of the test.
func attach(t *testing.T, disk, loop string) {
	t.Helper()
	source, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	device, err := os.OpenFile(loop, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_SET_FD, int(source.Fd())); err != nil {
		t.Fatalf("attach %s: %v", loop, err)
	}
	t.Cleanup(func() {
		if device, err := os.Open(loop); err == nil {
			_ = unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0)
			device.Close()
		}
	})
}

// TestAFailedStartSaysWhy takes the port away that Ganesha needs.
func TestAFailedStartSaysWhy(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskLarge)
	occupied, err := net.Listen("tcp", ":2049")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	a := h.Start(t, h.Config(host.DiskLarge))
	var st *agentv1.ServerStatus
	eventually(t, 120*time.Second, "Ganesha was started twice", func() bool {
		st, err = h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
		return err == nil && st.GetGaneshaRestarts() > 0 && st.GetReason() == "GaneshaFailed"
	})
	if !strings.Contains(strings.ToLower(st.GetMessage()), "bind") || !strings.Contains(a.Log(), st.GetMessage()) {
		t.Errorf("message %q", st.GetMessage())
	}
	_ = occupied.Close()
	eventually(t, 120*time.Second, "serving", func() bool { code, _ := a.Get("/readyz"); return code == 200 })
}

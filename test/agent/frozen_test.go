//go:build vm && long

package agent

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/ganesha"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/agent/nfs4"
)

const (
	ganeshaProgram = "ganesha.nfsd"
	// ganeshaThreads is how many requests Ganesha works on at once, at most (RPC_Ioq_ThrdMax).
	ganeshaThreads = 200
	// answerTimeout is the kubelet's and more than the manager's patience with a server.
	answerTimeout = 5 * time.Second
)

// TestADiskThatHangs freezes the data file system below an agent with calls, and a Ganesha with more requests than it has threads. Neither
// liveness nor the status waits with them: a kubelet that restarts such a server gains nothing, for its end would wait, too.
func TestADiskThatHangs(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskLarge)
	config := h.Config(host.DiskLarge)
	config.LeaseSeconds, config.GraceSeconds = 60, 60 // the clients here do not renew theirs
	a := h.Start(t, config)
	a.WaitServing(t)
	c, first, second := h.Controller(t), h.Node(t, "node-a"), h.Node(t, "node-b")
	v := create(t, c, "pvc-hung", 64*mib)
	a.Stop(t)
	a = h.Start(t, config) // the first volume of an agent's life also waits for the record of the server
	a.WaitServing(t)
	w := startWriter(t, filepath.Join(h.Mount(t, open(t, first, v.GetId())), "written"))
	w.awaitMore(t)
	clients, root := manyClients(t, ganeshaThreads+50, v.GetId())

	thaw := freeze(t, h.DataDir())
	var calls errgroup.Group
	calls.Go(func() error {
		_, err := second.OpenAccess(t.Context(), openRequest(v.GetId()))
		return err
	})
	calls.Go(func() error {
		_, err := c.CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{Name: "pvc-hung-new", Spec: spec(mib)})
		return err
	})
	eventually(t, time.Minute, "two calls to the agent wait for the disk", func() bool { return threads(t, host.Program, 'D') >= 2 })
	wantAnswers(t, h, a, http.StatusOK)
	for i, client := range clients {
		calls.Go(func() error { return client.OpenAndLock(root, fmt.Sprintf("file-%d", i)) })
	}
	eventually(t, time.Minute, "Ganesha has no thread left that answers", func() bool {
		return threads(t, ganeshaProgram, 'D') > ganeshaThreads*9/10 && ganesha.Probe(t.Context(), netip.MustParseAddrPort(nfsAddress)) != nil
	})
	wantAnswers(t, h, a, http.StatusOK)
	thaw()
	if err := calls.Wait(); err != nil {
		t.Errorf("a call that waited for the disk: %v", err)
	}
	w.awaitMore(t)
	t.Logf("longest write %s", w.wantAllThere(t, "thawed").Longest)
	if st := wantAnswers(t, h, a, http.StatusOK); st.GetGaneshaRestarts() != 0 {
		t.Errorf("Ganesha was started again %d times", st.GetGaneshaRestarts())
	}

	signalGanesha(t, syscall.SIGSTOP) // hangs, and not for the disk
	wantAnswers(t, h, a, http.StatusServiceUnavailable)
	signalGanesha(t, syscall.SIGCONT)
	wantAnswers(t, h, a, http.StatusOK)
}

// manyClients are clients of NFS that have done what a client does before it opens its first file, and a handle of a volume's root.
func manyClients(t *testing.T, n int, volume string) (clients []*nfs4.Client, root nfs4.Handle) {
	t.Helper()
	for i := range n {
		client, err := nfs4.Dial(nfsAddress, fmt.Sprintf("client-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Vanish)
		if err := client.Reclaimed(); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
	}
	root, err := clients[n-1].Lookup(volume)
	if err != nil {
		t.Fatal(err)
	}
	return clients, root
}

// wantAnswers asks all that is asked of a server from outside, and wants answers in time.
func wantAnswers(t *testing.T, h *host.Host, a *host.Agent, live int) *agentv1.ServerStatus {
	t.Helper()
	begin := time.Now()
	st, err := h.Manager(t).GetStatus(within(t, answerTimeout), &agentv1.GetStatusRequest{})
	if err != nil || st.GetVolumes() == 0 {
		t.Errorf("status %v, %v", st, err)
	}
	took := []time.Duration{time.Since(begin)}
	for path, want := range map[string]int{"/livez": live, "/metrics": http.StatusOK} {
		begin = time.Now()
		code, text := a.Get(path)
		took = append(took, time.Since(begin))
		if code != want || time.Since(begin) > answerTimeout {
			t.Errorf("%s: %d after %s, want %d: %.200s", path, code, time.Since(begin), want, text)
		}
	}
	t.Logf("status and two requests answered after %v", took)
	return st
}

// threads is how many threads of a program are in a state (proc_pid_stat(5)).
func threads(t *testing.T, program string, state byte) (n int) {
	t.Helper()
	files, _ := filepath.Glob("/proc/[0-9]*/task/*/stat")
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, name, _ := strings.Cut(string(stat), "(")
		name, rest, _ := strings.Cut(name, ") ")
		if name == program && rest[0] == state {
			n++
		}
	}
	return n
}

func signalGanesha(t *testing.T, s syscall.Signal) {
	t.Helper()
	for _, pid := range host.Processes(ganeshaProgram) {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
}

// Of linux/fs.h.
const (
	ioctlFreeze = 0xc0045877
	ioctlThaw   = 0xc0045878
)

// freeze lets everything that would change a file system wait, until it is thawed, at the latest at the end of the test.
func freeze(t *testing.T, dir string) (thaw func()) {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetInt(int(d.Fd()), ioctlFreeze, 0); err != nil {
		t.Fatal(err)
	}
	thaw = sync.OnceFunc(func() {
		if err := unix.IoctlSetInt(int(d.Fd()), ioctlThaw, 0); err != nil {
			t.Error(err)
		}
		d.Close()
	})
	t.Cleanup(thaw)
	return thaw
}

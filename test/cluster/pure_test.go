package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/imagearchive"
)

func TestParseStat(t *testing.T) {
	rest := " 1 1 1 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9"
	for name, c := range map[string]struct {
		stat, start string
		alive       bool
	}{
		"running":                    {"12 (etcd) S" + rest, "4711", true},
		"a name with a parenthesis":  {"12 (a) R 1 (b) R" + rest, "4711", true},
		"a zombie is not alive":      {"12 (etcd) Z" + rest, "4711", false},
		"nothing of use is not dead": {"12 (etcd)", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if start, alive := parseStat(c.stat); start != c.start || alive != c.alive {
				t.Errorf("got %q %v, want %q %v", start, alive, c.start, c.alive)
			}
		})
	}
}

// A machine that is just being started has no handler yet, and an alarm would end it.
func TestOnlyThoseWhoListenAreWoken(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	const noProcess = 1 << 30
	for pid, want := range map[int]bool{os.Getpid(): true, child.Process.Pid: false, noProcess: false} {
		if got := catches(pid, syscall.SIGALRM); got != want {
			t.Errorf("process %d: %v, want %v", pid, got, want)
		}
	}
}

// A process number that was given to another process must never be killed.
func TestRecycledProcessIsNotOurs(t *testing.T) {
	c := testCluster(t)
	data, err := json.Marshal(process{PID: os.Getpid(), Start: "1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFile(c.pidFile("etcd"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, alive := c.running("etcd"); alive {
		t.Error("our own process counts as the cluster's etcd")
	}
	if err := c.kill("etcd"); err != nil { // would end the test
		t.Error(err)
	}
	if _, err := os.Stat(c.pidFile("etcd")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record is still there: %v", err)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"512M": 512 << 20, "10G": 10 << 30, "1T": 1 << 40} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10", "G", "10g", "-1G", "1.5G", "disk.img"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestClusterNames(t *testing.T) {
	t.Setenv(stateVariable, t.TempDir())
	for _, name := range []string{"a", "nfsop", "nfsop-e2e", "abcdefghij"} {
		if c, err := load(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, %v, want that it does not exist", name, c, err)
		} else if len(c.veth()) > 15 {
			t.Errorf("%s: the interface's name %s is too long", name, c.veth())
		}
	}
	for _, name := range []string{"", "A", "1a", "abcdefghijk", "a/b", "..", "-a"} {
		if c, err := load(name); c != nil || err == nil {
			t.Errorf("%q is accepted as a name", name)
		}
	}
}

func TestSettingsOfAnExistingCluster(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		nodes int
		fails string
	}{
		"nothing given keeps all":      {nil, 2, ""},
		"the same again":               {[]string{"--nodes=2", "--mem=3G"}, 2, ""},
		"it grows":                     {[]string{"--nodes=3"}, 3, ""},
		"it does not shrink":           {[]string{"--nodes=1"}, 2, "does not shrink"},
		"no more than can be":          {[]string{"--nodes=10"}, 2, "1 to 9"},
		"other disks need a new one":   {[]string{"--disk-size=1G"}, 2, "take it down first"},
		"other memory needs a new one": {[]string{"--mem=1G"}, 2, "take it down first"},
	} {
		t.Run(name, func(t *testing.T) {
			have := cluster{Name: "x", Nodes: 2, Memory: "3G", Disks: 2, DiskSize: "10G"}
			flags, want := flag.NewFlagSet("up", flag.ContinueOnError), cluster{}
			flags.IntVar(&want.Nodes, "nodes", 1, "")
			flags.StringVar(&want.Memory, "mem", "3G", "")
			flags.StringVar(&want.DiskSize, "disk-size", "10G", "")
			if err := flags.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			err := have.compare(want, flags)
			if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("got error %v, want %q", err, c.fails)
			}
			if have.Nodes != c.nodes {
				t.Errorf("got %d nodes, want %d", have.Nodes, c.nodes)
			}
		})
	}
}

func TestControllersGetTheirLimit(t *testing.T) {
	t.Setenv(stateVariable, t.TempDir())
	have := cluster{Name: "x", Nodes: 1}
	flags, want := flag.NewFlagSet("up", flag.ContinueOnError), cluster{}
	flags.IntVar(&want.ControllerQPS, "controller-qps", defaultControllerQPS, "")
	for _, c := range []struct{ args, want []string }{
		{nil, []string{"--kube-api-qps=200", "--kube-api-burst=300"}},
		{[]string{"--controller-qps=20"}, []string{"--kube-api-qps=20", "--kube-api-burst=30"}},
	} {
		if err := flags.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		if err := have.compare(want, flags); err != nil {
			t.Fatal(err)
		}
		for _, d := range have.controlPlane() {
			for _, arg := range c.want {
				if d.name == "kube-controller-manager" && !slices.Contains(d.args, arg) {
					t.Errorf("%v: no %s in %v", c.args, arg, d.args)
				}
			}
		}
	}
}

func TestClustersGetDifferentAddresses(t *testing.T) {
	t.Setenv(stateVariable, t.TempDir())
	seen := map[int]bool{}
	for _, name := range []string{"one", "two", "three"} {
		c := &cluster{Name: name}
		if err := c.allocate(); err != nil {
			t.Fatal(err)
		}
		if seen[c.Index] || c.Token == "" {
			t.Errorf("%s: index %d, token %q", name, c.Index, c.Token)
		}
		seen[c.Index] = true
	}
}

func TestIndexesOf(t *testing.T) {
	got := indexesOf([]netip.Addr{
		netip.MustParseAddr("10.213.7.1"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1"), netip.MustParseAddr("::ffff:10.213.9.2"),
	})
	if !slices.Equal(got, []int{7, 9}) {
		t.Errorf("got %v", got)
	}
}

func TestCertificates(t *testing.T) {
	c := testCluster(t)
	if err := c.ensurePKI(); err != nil {
		t.Fatal(err)
	}
	ca, _, err := readPair(c.pki("ca"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	server, _, err := readPair(c.pki("apiserver"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{c.apiServerIP(), kubernetesIP, controlPlaneIP, "kubernetes.default.svc"} {
		if _, err := server.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	node, _, err := readPair(c.pki("node-2"))
	if err != nil {
		t.Fatal(err)
	}
	if node.Subject.CommonName != "system:node:node-2" || !slices.Equal(node.Subject.Organization, []string{"system:nodes"}) {
		t.Errorf("node's certificate is for %s", node.Subject)
	}
	// A second call keeps what running parts of the cluster already use.
	if err := c.ensurePKI(); err != nil {
		t.Fatal(err)
	}
	again, _, err := readPair(c.pki("apiserver"))
	if err != nil || !again.Equal(server) {
		t.Errorf("the certificate changed: %v", err)
	}
}

func TestTemplatesOfANode(t *testing.T) {
	c := testCluster(t)
	if err := c.ensurePKI(); err != nil {
		t.Fatal(err)
	}
	files, err := c.nodeFiles(2)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/etc/cni/net.d/10-bridge.conflist": "10.244.2.0/24", "/etc/kubernetes/kubelet.yaml": "clusterDNS: [10.96.0.10]",
		"/etc/containerd/config.toml": pauseImage, "/etc/hosts": "10.100.0.12 node-2", "/etc/kubernetes/kubelet.conf": "https://10.100.0.1:6443",
	} {
		if !strings.Contains(files[path], want) {
			t.Errorf("%s lacks %q:\n%s", path, want, files[path])
		}
	}
	if !json.Valid([]byte(files["/etc/cni/net.d/10-bridge.conflist"])) {
		t.Error("CNI's configuration is no JSON")
	}
}

func TestLocalVolumes(t *testing.T) {
	text, err := testCluster(t).storage()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text, "kind: PersistentVolume\n"); n != 4 {
		t.Errorf("%d volumes for 2 nodes with 2 disks", n)
	}
	for _, want := range []string{"name: node-2-ubdc", "path: /dev/ubdc", "storage: 10Gi", "values: [node-2]"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
}

func TestSharedDisk(t *testing.T) {
	c := testCluster(t)
	c.Shared = "4G"
	text, err := c.storage()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"name: shared-block", "storage: 4Gi", "path: /dev/shared", "operator: Exists"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	own := byte('a' + maxDisks)
	for n := 1; n <= maxNodes; n++ {
		if l := sharedLetter(n); l <= own || l > 'p' {
			t.Errorf("%s has the shared disk as ubd%c: ubda to ubd%c are its own, and ubdp is the last", nodeName(n), l, own)
		}
	}
	if sharedLetter(1) == sharedLetter(2) {
		t.Error("two nodes see the shared disk under one number")
	}
}

// A cache that is keyed by less than everything would run old programs for ever.
func TestBuildKeyFollowsTheSources(t *testing.T) {
	dir := t.TempDir()
	p := program{module: "m", packages: "."}
	write := func(name, text string) {
		t.Helper()
		if err := writeFile(filepath.Join(dir, "m", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	key := func(p program) string {
		t.Helper()
		k, err := p.hash(dir)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	write("go.mod", "module m")
	write("main.go", "package main")
	first := key(p)
	if key(p) != first {
		t.Error("the key changes by itself")
	}
	write("main.go", "package main // changed")
	if key(p) == first {
		t.Error("the key does not follow main.go")
	}
	write("main.go", "package main")
	p.ldflags = "-X a=b"
	if key(p) == first {
		t.Error("the key does not follow the linker's flags")
	}
}

// A key that differs from one time to the next makes every `up` prepare the nodes' disk again, which takes a minute.
func TestImageKeyIsStable(t *testing.T) {
	image := imagearchive.Image{Names: []string{"a:1"}, Files: map[string]string{}, Links: map[string]string{"/x": "y", "/z": "y"}}
	for _, name := range []string{"a", "b", "c", "d"} {
		file := filepath.Join(t.TempDir(), name)
		if err := writeFile(file, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		image.Files["/"+name] = file
	}
	first, err := imageKey(image)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := imageKey(image); err != nil || again != first {
			t.Fatalf("got %s, %v after %s", again, err, first)
		}
	}
}

func TestArguments(t *testing.T) {
	t.Setenv(stateVariable, t.TempDir())
	c := &cluster{Name: "abc"}
	if err := c.allocate(); err != nil {
		t.Fatal(err)
	}
	exec := func(seen []string) bool { return seen[0] == "exec" && len(seen) == 2 }
	for line, want := range map[string]string{
		"--name abc stop node-1":                    "stop node-1",
		"stop node-1 --name abc":                    "stop node-1",
		"stop --name=abc node-1":                    "stop node-1",
		"--name abc exec node-1 ls --name x -l":     "exec node-1 ls --name x -l",
		"--name abc exec node-1 -- sh -c --verbose": "exec node-1 -- sh -c --verbose",
	} {
		got, rest, err := parseFor("node", strings.Fields(line), 2, exec)
		if err != nil || got.Name != "abc" || strings.Join(rest, " ") != want {
			t.Errorf("%s: got %v, %q, %v", line, got, rest, err)
		}
	}
	if _, _, err := parseFor("node", []string{"--name", "other", "stop", "node-1"}, 2, exec); err == nil {
		t.Error("a cluster that is not there is accepted")
	}
}

func TestWaitForGivesTheLastReason(t *testing.T) {
	err := waitFor(t.Context(), time.Millisecond, "it", func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "not yet") {
		t.Errorf("got %v", err)
	}
}

func testCluster(t *testing.T) *cluster {
	t.Helper()
	t.Setenv(stateVariable, t.TempDir())
	return &cluster{Name: "test", Nodes: 2, Memory: "3G", Disks: 2, DiskSize: "10G", Index: 7}
}

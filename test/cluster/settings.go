package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
)

const (
	defaultName = "nfsop"
	maxNodes    = 9
	maxDisks    = 7

	cacheVariable = "NFS_OPERATOR_CACHE"
	stateVariable = "NFS_OPERATOR_CLUSTERS"

	allocateLock = ".allocate.lock"
)

// Addresses inside a cluster's network namespace. Clusters do not see each other, so they are the same in each of them.
const (
	controlPlaneIP = "10.100.0.1"
	podCIDR        = "10.244.0.0/16"
	serviceCIDR    = "10.96.0.0/16"
	kubernetesIP   = "10.96.0.1"
	dnsIP          = "10.96.0.10"
)

// cluster is a cluster's settings, kept in its state directory.
type cluster struct {
	Name     string
	Nodes    int
	Memory   string // of each node
	Disks    int    // raw block devices of each node
	DiskSize string
	Shared   string `json:",omitempty"` // size of the disk that all nodes reach; none when empty
	// ControllerQPS is how many requests a second kube-controller-manager may make, half as many more in a burst.
	ControllerQPS int `json:",omitempty"`

	Index int    // distinguishes the addresses by which this machine reaches its clusters
	Token string // what a client of the nodes' control service has to know
}

func cacheDir() string { return envOr(cacheVariable, "/var/cache/nfs-operator") }
func stateDir() string { return envOr(stateVariable, "/var/lib/nfs-operator-cluster") }

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func (c *cluster) dir() string             { return filepath.Join(stateDir(), c.Name) }
func (c *cluster) path(e ...string) string { return filepath.Join(append([]string{c.dir()}, e...)...) }
func (c *cluster) kubeconfig() string      { return c.path("kubeconfig") }
func (c *cluster) netns() string           { return "nfs-operator-" + c.Name }
func (c *cluster) veth() string            { return "nfso-" + c.Name }
func (c *cluster) hostIP() string          { return fmt.Sprintf("10.213.%d.1", c.Index) }
func (c *cluster) apiServerIP() string     { return fmt.Sprintf("10.213.%d.2", c.Index) }
func (c *cluster) apiServerURL() string    { return "https://" + c.apiServerIP() + ":6443" }
func nodeName(n int) string                { return fmt.Sprintf("node-%d", n) }
func nodeIP(n int) string                  { return fmt.Sprintf("10.100.0.%d", 10+n) }
func nodePodCIDR(n int) string             { return fmt.Sprintf("10.244.%d.0/24", n) }
func tapName(n int) string                 { return fmt.Sprintf("tap%d", n) }
func (c *cluster) nodeDir(n int) string    { return c.path(nodeName(n)) }
func (c *cluster) consoleLog(n int) string { return filepath.Join(c.nodeDir(n), "console.log") }
func (c *cluster) logFile(s string) string { return c.path("logs", s+".log") }
func (c *cluster) settingsFile() string    { return c.path("cluster.json") }
func (c *cluster) pki(file string) string  { return c.path("pki", file) }
func (c *cluster) imagesDir() string       { return c.path("images") }
func (c *cluster) initProgram() string     { return c.path("cluster") }

// clusterName is part of the names of network interfaces, which have at most 15 characters.
var clusterName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,9}$`)

// nameFlag adds --name to a verb's flags.
func nameFlag(flags *flag.FlagSet) *string {
	return flags.String("name", envOr("NFS_OPERATOR_CLUSTER", defaultName), "name of the cluster, at most 10 letters, digits and dashes")
}

// load reads the settings of the cluster of that name; fs.ErrNotExist if there is none.
func load(name string) (*cluster, error) {
	if !clusterName.MatchString(name) {
		return nil, fmt.Errorf("%q is not a cluster's name: at most 10 lower-case letters, digits and dashes, a letter first", name)
	}
	c := &cluster{Name: name}
	data, err := os.ReadFile(c.settingsFile())
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, c); err != nil {
		return c, fmt.Errorf("read %s: %w", c.settingsFile(), err)
	}
	return c, nil
}

// existing is load for verbs that make no sense without a cluster.
func existing(name string) (*cluster, error) {
	c, err := load(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster %q: start one with `cluster up`", name)
	}
	return c, err
}

func (c *cluster) save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(c.settingsFile(), data, 0o600)
}

// writeFile replaces a file as a whole, so that a tool killed halfway leaves no half file.
func writeFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", data, mode); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// lock makes other invocations wait that would change the same thing; it ends with the process at the latest.
func lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		locked, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(locked, there) {
			return func() { f.Close() }, nil
		}
		f.Close() // `down` removed the file while we waited for it
	}
}

func lockCluster(name string) (func(), error) {
	return lock(filepath.Join(stateDir(), "."+name+".lock"))
}

// allocate gives a new cluster the first free subnet and a token. The caller saves the settings under the same lock.
func (c *cluster) allocate() error {
	unlock, err := lock(filepath.Join(stateDir(), allocateLock))
	if err != nil {
		return err
	}
	defer unlock()
	used, err := usedIndexes()
	if err != nil {
		return err
	}
	for c.Index = 0; slices.Contains(used, c.Index); c.Index++ {
	}
	if c.Index > 255 {
		return errors.New("no subnet is free: too many clusters")
	}
	token := make([]byte, 16)
	_, _ = rand.Read(token)
	c.Token = hex.EncodeToString(token)
	return c.save()
}

// usedIndexes are those of the other clusters and of any interface that already has such an address.
func usedIndexes() ([]int, error) {
	addresses, err := interfaceAddresses()
	if err != nil {
		return nil, err
	}
	used := indexesOf(addresses)
	entries, err := os.ReadDir(stateDir())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if other, err := load(e.Name()); err == nil && other.Token != "" {
			used = append(used, other.Index)
		}
	}
	return used, nil
}

// indexesOf returns the third number of each address in 10.213.0.0/16.
func indexesOf(addresses []netip.Addr) []int {
	ours := netip.MustParsePrefix("10.213.0.0/16")
	var used []int
	for _, a := range addresses {
		if a = a.Unmap(); ours.Contains(a) {
			used = append(used, int(a.As4()[2]))
		}
	}
	return used
}

package share

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/csi/mount"
)

// mounter refuses mounts with an error for each version, and keeps what it was asked.
type mounter struct {
	refuse map[string]error
	asked  []mount.NFS
}

func (m *mounter) NFS(_ context.Context, n mount.NFS) error {
	m.asked = append(m.asked, n)
	for version, err := range m.refuse {
		if strings.Contains(n.Options.Data, "vers="+version) {
			return err
		}
	}
	return nil
}

func (*mounter) Unmount(context.Context, string) error      { return nil }
func (*mounter) Detach(context.Context, string, bool) error { return nil }
func (*mounter) Mounts() ([]mount.Mount, error)             { return nil, nil }

// late is a mounter whose plain unmount comes to its end when nobody waits for it any more.
type late struct {
	mounter
	mounts []mount.Mount
}

func (m *late) Mounts() ([]mount.Mount, error) { return m.mounts, nil }

func (m *late) Unmount(context.Context, string) error {
	m.mounts = m.mounts[1:]
	return mount.ErrTimeout
}

func (*late) Detach(context.Context, string, bool) error {
	return fmt.Errorf("detach: %w", unix.EINVAL)
}

func TestUnmountThatEndsLate(t *testing.T) {
	m := &late{}
	p := place(t, m)
	m.mounts = []mount.Mount{{Target: p.Dir}, {Target: p.Dir}}
	if err := p.unmount(); err != nil || len(m.mounts) != 0 {
		t.Fatalf("%v, and %v is still mounted", err, m.mounts)
	}
}

type resolver map[string]string

func (r resolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, ok := r[host]; ok {
		return []netip.Addr{netip.MustParseAddr(a)}, nil
	}
	return nil, errors.New("no such host")
}

func place(t *testing.T, m Mounter, options ...string) Place {
	t.Helper()
	return Place{
		Config: config.External{Server: "nas", Path: "/export", MountOptions: options, Owner: "one"},
		Dir:    t.TempDir(), Mounter: m, Resolver: resolver{"nas": "10.0.0.9"},
	}
}

func reasonOf(err error) string {
	var e Error
	if errors.As(err, &e) {
		return e.Reason
	}
	return ""
}

func TestMountTakesTheBestVersion(t *testing.T) {
	for name, test := range map[string]struct {
		options []string
		refuse  map[string]error
		want    string
		reason  string
		tries   int
	}{
		"both":                  {nil, nil, "4.2", "", 1},
		"an older server":       {nil, map[string]error{"4.2": unix.EPROTONOSUPPORT}, "4.1", "", 2},
		"the backend wants 4.1": {[]string{"nfsvers=4.1"}, nil, "4.1", "", 1},
		"only 4.2, by wish":     {[]string{"v4.2"}, map[string]error{"4.2": unix.EPROTONOSUPPORT}, "", agentv1.ReasonShareRefused, 1},
		"neither":               {nil, map[string]error{"4.2": unix.EPROTONOSUPPORT, "4.1": unix.EPROTONOSUPPORT}, "", agentv1.ReasonShareRefused, 2},
		"refused":               {nil, map[string]error{"4.2": unix.EACCES}, "", agentv1.ReasonShareRefused, 1},
		"missing":               {nil, map[string]error{"4.2": unix.ENOENT}, "", agentv1.ReasonSharePathMissing, 1},
		"bad options":           {nil, map[string]error{"4.2": unix.EINVAL}, "", agentv1.ReasonShareOptions, 1},
		"dead":                  {nil, map[string]error{"4.2": mount.ErrTimeout}, "", agentv1.ReasonShareUnreachable, 1},
		"nobody listens":        {nil, map[string]error{"4.2": unix.ECONNREFUSED}, "", agentv1.ReasonShareUnreachable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := &mounter{refuse: test.refuse}
			version, err := place(t, m, test.options...).mount(t.Context())
			if reasonOf(err) != test.reason || (err == nil) != (test.reason == "") || err == nil && version != test.want || len(m.asked) != test.tries {
				t.Fatalf("version %s, %v after %d tries", version, err, len(m.asked))
			}
		})
	}
}

func TestMountNeverWaitsForEver(t *testing.T) {
	m := &mounter{}
	if _, err := place(t, m, "hard", "timeo=600", "sharecache", "actimeo=60", "acregmin=30", "acdirmax=90", "ac", "lookupcache=all", "port=20490", "noresvport").mount(t.Context()); err != nil {
		t.Fatal(err)
	}
	data := m.asked[0].Options.Data
	for _, want := range []string{"softerr", "timeo=50", "retrans=2", "nosharecache", "actimeo=0", "port=20490", "noresvport", "addr=10.0.0.9"} {
		if !strings.Contains(","+data+",", ","+want+",") {
			t.Errorf("%q lacks %s", data, want)
		}
	}
	for _, o := range []string{"hard", "acregmin", "acdirmax", ",ac,", "lookupcache", "timeo=60"} {
		if strings.Contains(","+data+",", o) {
			t.Errorf("%q has %s", data, o)
		}
	}
	if m.asked[0].Options.Flags&unix.MS_NOSYMFOLLOW == 0 {
		t.Errorf("options %q, flags %#x", data, m.asked[0].Options.Flags)
	}
	if s := mount.Source(m.asked[0].Address, m.asked[0].Path); s != "10.0.0.9:/export" {
		t.Errorf("mounted %s", s)
	}
}

func TestBadOptionsAreNotMounted(t *testing.T) {
	for _, option := range []string{
		"retry=2", strings.Repeat("x", 40), "addr=10.0.0.1", "proto=udp", "port=0", "ro", "vers=3", "nconnect=16",
	} {
		m := &mounter{}
		_, err := place(t, m, option).mount(t.Context())
		if name, _, _ := strings.Cut(option, "="); reasonOf(err) != agentv1.ReasonShareOptions || !strings.Contains(err.Error(), name) || len(m.asked) > 0 {
			t.Errorf("%s: %v after %d mounts", option, err, len(m.asked))
		}
	}
}

func TestServerWithoutAddressIsUnreachable(t *testing.T) {
	p := place(t, &mounter{})
	p.Config.Server = "elsewhere"
	if _, err := p.mount(t.Context()); reasonOf(err) != agentv1.ReasonShareUnreachable {
		t.Errorf("error %v", err)
	}
}

func TestServerIsNotLookedUpInSearchDomains(t *testing.T) {
	p := place(t, &mounter{})
	p.Config.Server, p.Resolver = "nas.prod", resolver{"nas.prod": "10.6.6.6"}
	if _, err := p.mount(t.Context()); reasonOf(err) != agentv1.ReasonShareUnreachable {
		t.Errorf("error %v", err)
	}
}

func TestNodesMountWithWhatWasAgreedOn(t *testing.T) {
	s := &Share{Version: "4.1", place: place(t, &mounter{}, "nconnect=2", "nfsvers=4.1")}
	o, err := mount.MakeOptions("10.0.0.9", s.NodeOptions(), []string{"sharecache"})
	if err != nil || o.Data != "vers=4.1,hard,timeo=100,retrans=1,proto=tcp,port=2049,nconnect=2,nosharecache,addr=10.0.0.9" {
		t.Errorf("options %q, %v", o.Data, err)
	}
}

func TestIdentified(t *testing.T) {
	c := config.External{Owner: "one", ServerID: "nfs-1"}
	for name, test := range map[string]struct {
		change func(*config.External)
		found  store.Server
		exists bool
		err    error
		reason string
	}{
		"ours":                        {nil, store.Server{Owner: "one", ServerID: "nfs-1"}, true, nil, ""},
		"new":                         {func(c *config.External) { c.ServerID = "" }, store.Server{}, false, nil, ""},
		"found by a new backend":      {func(c *config.External) { c.ServerID = "" }, store.Server{Owner: "one", ServerID: "nfs-1"}, true, nil, ""},
		"empty, and was not":          {nil, store.Server{}, false, nil, agentv1.ReasonShareChanged},
		"another of ours":             {nil, store.Server{Owner: "one", ServerID: "nfs-2"}, true, nil, agentv1.ReasonShareChanged},
		"another's":                   {nil, store.Server{Owner: "two", ServerID: "nfs-1"}, true, nil, agentv1.ReasonShareOwned},
		"taken over":                  {func(c *config.External) { c.TakeOver = "two" }, store.Server{Owner: "two", ServerID: "nfs-1"}, true, nil, ""},
		"nobody's":                    {nil, store.Server{ServerID: "nfs-1"}, true, nil, agentv1.ReasonShareOwned},
		"foreign data":                {nil, store.Server{}, false, store.ErrForeign, agentv1.ReasonShareNotEmpty},
		"a newer version":             {nil, store.Server{}, false, store.ErrNewerFormat, agentv1.ReasonNewerFormat},
		"unreadable, for root is not": {nil, store.Server{}, false, os.ErrPermission, agentv1.ReasonShareRootSquashed},
		"read only":                   {nil, store.Server{}, false, unix.EROFS, agentv1.ReasonShareReadOnly},
		"dead":                        {nil, store.Server{}, false, unix.ETIMEDOUT, agentv1.ReasonShareUnreachable},
		"broken":                      {nil, store.Server{}, false, unix.EIO, agentv1.ReasonShareFailed},
	} {
		c := c
		if test.change != nil {
			test.change(&c)
		}
		if test.err != nil {
			test.err = fmt.Errorf("look: %w", test.err)
		}
		if err := identified(c, test.found, test.exists, test.err); reasonOf(err) != test.reason || (err == nil) != (test.reason == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

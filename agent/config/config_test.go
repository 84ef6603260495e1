package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func valid() Config {
	return Config{
		Backend: "shared", Device: "/dev/nfs-operator/data", DataDir: "/data",
		LeaseSeconds: 18, GraceSeconds: 30, OvercommitPercent: 100,
	}
}

func load(t *testing.T, text []byte) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(file)
}

func TestRoundTrip(t *testing.T) {
	text, err := valid().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	if got != valid() {
		t.Errorf("got %+v", got)
	}
}

func TestExternalRoundTrip(t *testing.T) {
	want := Config{Backend: "nas", DataDir: "/data", External: &External{
		Server: "nas.example.org", Path: "/export", MountOptions: []string{"vers=4.1"}, Owner: "cluster/nas", TakeOver: "other/nas", ServerID: "a",
	}}
	text, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := load(t, text); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v from\n%s", got, err, text)
	}
}

// TestBadMountOptionsAreTheAgentsToReport: with an error here it would not start, and nobody would learn the reason from the NFSBackend.
func TestBadMountOptionsAreTheAgentsToReport(t *testing.T) {
	c := Config{Backend: "nas", DataDir: "/data", External: &External{
		Server: "nas", Path: "/export", MountOptions: []string{"retry=2"}, Owner: "cluster/nas",
	}}
	text, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, text); err != nil {
		t.Error(err)
	}
}

func TestExternalRefuses(t *testing.T) {
	valid := func() *External {
		return &External{Server: "nas.example.org", Path: "/export", MountOptions: []string{"vers=4.1", "port=20490", "noresvport"}, Owner: "cluster/shared"}
	}
	for name, test := range map[string]struct {
		change func(*External)
		named  string
	}{
		"a server with a port":   {func(e *External) { e.Server = "nas:2049" }, "server"},
		"a server with brackets": {func(e *External) { e.Server = "[fd00::1]" }, "server"},
		"a dot":                  {func(e *External) { e.Server = "." }, "server"},
		"a server with a space":  {func(e *External) { e.Server = "nas x" }, "server"},
		"a relative path":        {func(e *External) { e.Path = "export" }, "path"},
		"a path with a newline":  {func(e *External) { e.Path = "/export\n" }, "path"},
		"no owner":               {func(e *External) { e.Owner = "" }, "owner"},
		"an owner with a space":  {func(e *External) { e.Owner = "a b" }, "owner"},
		"a wrong takeOver":       {func(e *External) { e.TakeOver = "a b" }, "takeOver"},
		"another address":        {func(e *External) { e.MountOptions = []string{"addr=10.0.0.1"} }, "addr"},
		"another protocol":       {func(e *External) { e.MountOptions = []string{"proto=udp"} }, "proto"},
		"port 0":                 {func(e *External) { e.MountOptions = []string{"port=0"} }, "port"},
		"read only":              {func(e *External) { e.MountOptions = []string{"ro"} }, "ro"},
		"version 3":              {func(e *External) { e.MountOptions = []string{"vers=3"} }, "vers"},
	} {
		e := valid()
		test.change(e)
		if err := e.Validate(); err == nil || !strings.Contains(err.Error(), test.named) {
			t.Errorf("%s: error %v does not name %q", name, err, test.named)
		}
	}
	for _, server := range []string{"10.0.0.1", "fd00::1", "nas", "nas.example.org", "nas.example.org."} {
		e := valid()
		e.Server, e.Path = server, "/"
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", server, err)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"backend":           func(c *Config) { c.Backend = "" },
		"shard":             func(c *Config) { c.Shard = -1 },
		"leaseSeconds":      func(c *Config) { c.LeaseSeconds = 9 },
		"graceSeconds":      func(c *Config) { c.GraceSeconds = 91 },
		"silenceSeconds":    func(c *Config) { c.SilenceSeconds = -1 },
		"overcommitPercent": func(c *Config) { c.OvercommitPercent = 99 },
		"dataDir":           func(c *Config) { c.DataDir = "" },
		"external.server":   func(c *Config) { c.External = &External{Path: "/export"} },
		"external.path":     func(c *Config) { c.External = &External{Server: "nas", Path: "/export/../etc"} },
	} {
		c := valid()
		change(&c)
		text, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: error %v does not name it", field, err)
		}
	}
	text, err := valid().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := load(t, append(text, "shiny: true\n"...)); err == nil {
		t.Error("a field of a newer version was ignored")
	}
}

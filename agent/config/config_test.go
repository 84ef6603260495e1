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

func TestLoadRefuses(t *testing.T) {
	for field, change := range map[string]func(*Config){
		"backend":           func(c *Config) { c.Backend = "" },
		"shard":             func(c *Config) { c.Shard = -1 },
		"device":            func(c *Config) { c.Device = "" },
		"leaseSeconds":      func(c *Config) { c.LeaseSeconds = 9 },
		"graceSeconds":      func(c *Config) { c.GraceSeconds = 91 },
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

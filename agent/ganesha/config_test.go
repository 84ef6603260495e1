package ganesha

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write golden files")

var testConfig = Config{Port: 2049, ServerID: "nfs-abc", RecoveryDir: "/data/.nfs-operator/recovery", LeaseSeconds: 18, GraceSeconds: 30}

func addresses(texts ...string) []netip.Addr {
	all := make([]netip.Addr, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParseAddr(text)
	}
	return all
}

func testExport() Export {
	return Export{
		ID: 7, Name: "abcdefghijklmnop", Path: "/data/volumes/abcdefghijklmnop", FilesystemID: 42,
		Squash: SquashNone, AnonymousUID: 65534, AnonymousGID: 65534,
	}
}

func TestServerConfiguration(t *testing.T) {
	closed, open := testExport(), testExport()
	open.ID, open.Name, open.Squash = 8, "bcdefghijklmnopq", SquashAll
	open.Clients = []Client{
		{Addresses: addresses("10.0.0.2", "fd00::2"), PrivilegedPort: true},
		{Addresses: addresses("10.0.0.1", "::ffff:10.0.0.3"), PrivilegedPort: true},
		{Addresses: addresses("10.0.0.9"), ReadOnly: true},
	}
	static := testExport()
	static.ID, static.Name, static.Path, static.Squash = 9, "e-media", "/data/exports/team/media", SquashRoot
	static.Clients = []Client{
		{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/48")}},
		{Networks: []netip.Prefix{netip.MustParsePrefix("10.1.7.7/16")}, ReadOnly: true},
		{Addresses: addresses("10.1.2.3"), PrivilegedPort: true},
	}
	for name, c := range map[string]struct {
		config  Config
		exports []Export
	}{
		"networks": {testConfig, []Export{static}},
		"empty":    {testConfig, nil},
		"exports":  {testConfig, []Export{closed, open}},
		"small":    {Config{Port: 2050, ServerID: "nfs-abc", RecoveryDir: "/r", LeaseSeconds: 10, GraceSeconds: 15}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := RenderServer(c.config, c.exports)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden.conf")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// Ganesha's grace period begins before it reads its exports. With 5,000 of them 15 s were over when it began to listen, and the locks of
// all clients were lost; on a busier machine, 65 s were.
func TestGraceLastsUntilExportsHaveBeenRead(t *testing.T) {
	for _, c := range []struct {
		exports int
		writing time.Duration
		want    int32
	}{
		{0, time.Millisecond, 30},
		{99, 10 * time.Millisecond, 30},
		{10, time.Minute, 30}, // a pause
		{5000, 100 * time.Millisecond, 80},
		{5000, 5 * time.Second, 155},
		{5000, time.Hour, 270},
		{65000, time.Second, 270},
	} {
		if got := graceSeconds(testConfig, c.exports, c.writing); got != c.want {
			t.Errorf("%d exports, written in %s: %d s, want %d", c.exports, c.writing, got, c.want)
		}
	}
	e := newExporter(testConfig, many(slices.Repeat([]Export{testExport()}, 5000)))
	text, err := e.startFile()
	if err != nil || strings.Contains(text, "Grace_Period = 30;") {
		t.Errorf("the start file has the grace period of a server without exports (%v)", err)
	}
}

// With all addresses in one block, Ganesha took half a second to read 5,000.
func TestManyClientsStandInSeveralBlocks(t *testing.T) {
	e := testExport()
	e.Clients = nil
	want := map[string]bool{}
	for i := range 2*maxInBlock + 1 {
		c := Client{Addresses: addresses(fmt.Sprintf("10.0.%d.%d", i>>8, i&0xff)), PrivilegedPort: true}
		e.Clients = append(e.Clients, c)
		want[c.Addresses[0].String()] = true
	}
	text, err := RenderExport(testConfig, e)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for line := range strings.Lines(text) {
		list, ok := strings.CutPrefix(strings.TrimSpace(line), "Clients = ")
		if !ok {
			continue
		}
		blocks++
		all := strings.Split(strings.TrimSuffix(list, ";"), ", ")
		if len(all) > maxInBlock {
			t.Errorf("%d addresses in one block", len(all))
		}
		for _, a := range all {
			if !want[a] {
				t.Errorf("%s stands there twice, or should not", a)
			}
			delete(want, a)
		}
	}
	if blocks != 3 || len(want) != 0 || strings.Count(text, "PrivilegedPort = true") != blocks {
		t.Errorf("%d blocks, %d addresses are missing:\n%s", blocks, len(want), text)
	}
}

func TestValuesThatCouldEndAStringAreRefused(t *testing.T) {
	for _, bad := range []string{"", `a"; } EXPORT {`, "a\nb", "a\x00", `a\`, "a'b"} {
		e := testExport()
		e.Path = bad
		if _, err := RenderExport(testConfig, e); !errors.Is(err, ErrUnsafe) {
			t.Errorf("path %q: %v", bad, err)
		}
	}
	e := testExport()
	e.ID = 0
	if _, err := RenderExport(testConfig, e); !errors.Is(err, ErrUnsafe) {
		t.Errorf("export id 0: %v", err)
	}
	e = testExport()
	e.Squash = "None; Access_Type = RW"
	if _, err := RenderExport(testConfig, e); !errors.Is(err, ErrUnsafe) {
		t.Errorf("squash: %v", err)
	}
}

// Whatever the names and grants: one block, no access but for the addresses granted, and nothing that the values smuggle in.
func FuzzRenderExport(f *testing.F) {
	f.Add("abcdefghijklmnop", "/data/volumes/a", uint32(0x0a000001), true, true)
	f.Add(`x"; Access_Type = RW; "`, "/data\n}", uint32(0), false, false)
	f.Fuzz(func(t *testing.T, name, path string, address uint32, granted, readOnly bool) {
		e := testExport()
		e.Name, e.Path = name, path
		a := netip.AddrFrom4([4]byte{byte(address >> 24), byte(address >> 16), byte(address >> 8), byte(address)})
		if granted {
			e.Clients = []Client{{Addresses: []netip.Addr{a}, ReadOnly: readOnly}}
		}
		text, err := RenderExport(testConfig, e)
		if err != nil {
			return
		}
		outside := stripStrings(t, text)
		if strings.Count(outside, "EXPORT {") != 1 || strings.Count(outside, "{") != strings.Count(outside, "}") {
			t.Fatalf("not one block:\n%s", text)
		}
		want := map[bool]int{true: 1}[granted]
		if strings.Count(outside, "CLIENT {") != want || strings.Count(outside, "Access_Type = None;") != 1 ||
			strings.Count(outside, "Access_Type") != 1+want || granted && !strings.Contains(outside, "Clients = "+a.String()+";") {
			t.Fatalf("wrong access:\n%s", text)
		}
	})
}

// stripStrings takes out what the parser would read as strings.
func stripStrings(t *testing.T, text string) string {
	t.Helper()
	parts := strings.Split(text, `"`)
	if len(parts)%2 != 1 {
		t.Fatalf("a string does not end:\n%s", text)
	}
	var outside strings.Builder
	for i := 0; i < len(parts); i += 2 {
		outside.WriteString(parts[i])
	}
	return outside.String()
}

package config

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func validExports() Exports {
	return Exports{
		AccessCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Exports: []StaticExport{
			{
				Name: "media", Path: "media", Bytes: 1 << 30, Squash: SquashRoot, AnonymousUID: 65534, AnonymousGID: 65534,
				Clients: []ExportClient{{CIDR: netip.MustParsePrefix("192.0.2.0/24")}, {CIDR: netip.MustParsePrefix("fd00::/48"), ReadOnly: true}},
			},
			{Name: "home", Path: "team/home.d", Bytes: 1 << 20, Squash: SquashNone},
		},
	}
}

func TestExportsSurviveTheirText(t *testing.T) {
	want := validExports()
	text, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseExports(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v (%v), want %+v from:\n%s", got, err, want, text)
	}
}

func TestNoTextIsNoExport(t *testing.T) {
	got, err := ParseExports(nil)
	if err != nil || !reflect.DeepEqual(got, Exports{}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestHugeExportsAreRefused(t *testing.T) {
	if _, err := ParseExports(bytes.Repeat([]byte("#"), 2<<20)); err == nil {
		t.Error("2 MiB of comments were read")
	}
}

func TestHostileExportsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*StaticExport){
		"empty name":            func(x *StaticExport) { x.Name = "" },
		"name with a quote":     func(x *StaticExport) { x.Name = `a"; } EXPORT {` },
		"name with a newline":   func(x *StaticExport) { x.Name = "a\nb" },
		"name that is a path":   func(x *StaticExport) { x.Name = "a/b" },
		"dots":                  func(x *StaticExport) { x.Name = ".." },
		"long name":             func(x *StaticExport) { x.Name = strings.Repeat("a", 41) },
		"empty path":            func(x *StaticExport) { x.Path = "" },
		"absolute path":         func(x *StaticExport) { x.Path = "/etc" },
		"path out":              func(x *StaticExport) { x.Path = "a/../../volumes" },
		"path to the root":      func(x *StaticExport) { x.Path = "." },
		"path with NUL":         func(x *StaticExport) { x.Path = "a\x00b" },
		"path with a newline":   func(x *StaticExport) { x.Path = "a\n" },
		"doubled slash":         func(x *StaticExport) { x.Path = "a//b" },
		"trailing slash":        func(x *StaticExport) { x.Path = "a/" },
		"hidden directory":      func(x *StaticExport) { x.Path = ".nfs-operator" },
		"long path":             func(x *StaticExport) { x.Path = strings.Repeat("a", 256) },
		"within another's path": func(x *StaticExport) { x.Path = "team/home.d/x" },
		"around another's path": func(x *StaticExport) { x.Path = "team" },
		"another's path":        func(x *StaticExport) { x.Path = "team/home.d" },
		"another's name":        func(x *StaticExport) { x.Name = "home" },
		"no size":               func(x *StaticExport) { x.Bytes = 0 },
		"unknown squash":        func(x *StaticExport) { x.Squash = "None; Access_Type = RW" },
		"a client twice": func(x *StaticExport) {
			x.Clients = append(x.Clients, ExportClient{CIDR: netip.MustParsePrefix("192.0.2.77/24")})
		},
		"no network":     func(x *StaticExport) { x.Clients = []ExportClient{{}} },
		"mapped network": func(x *StaticExport) { x.Clients = []ExportClient{{CIDR: netip.MustParsePrefix("::ffff:0:0/96")}} },
	} {
		e := validExports()
		change(&e.Exports[0])
		if err := e.validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParseExports([]byte("surprise: true\n")); err == nil {
		t.Error("an unknown field was accepted")
	}
}

func FuzzExports(f *testing.F) {
	text, _ := validExports().Marshal()
	f.Add(text)
	f.Add([]byte("exports: [{name: a, path: a/b, bytes: 1, squash: None, clients: [{cidr: ::/0}]}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := ParseExports(text)
		if err != nil {
			return
		}
		for _, x := range e.Exports {
			if strings.ContainsAny(x.Name+x.Path, "\x00\n\"'\\ ") || !filepath.IsLocal(x.Path) || strings.Contains("/"+x.Path, "/.") {
				t.Errorf("accepted %q at %q", x.Name, x.Path)
			}
		}
		again, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseExports(again); err != nil || !reflect.DeepEqual(back, e) {
			t.Errorf("%+v came back as %+v (%v)", e, back, err)
		}
	})
}

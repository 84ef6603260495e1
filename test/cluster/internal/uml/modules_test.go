package uml

import (
	"slices"
	"testing"
)

func TestLoadOrder(t *testing.T) {
	files := map[string]string{"a": "/a.ko", "b": "/b.ko", "c_d": "/c-d.ko"}
	depends := map[string][]string{"/a.ko": {"b", "c-d"}, "/b.ko": {"c_d"}}
	got, err := loadOrder([]string{"a", "b", "built-in"}, files, func(f string) ([]string, error) { return depends[f], nil })
	if err != nil || !slices.Equal(got, []string{"/c-d.ko", "/b.ko", "/a.ko"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestParseDepends(t *testing.T) {
	for info, want := range map[string][]string{
		"license=GPL\x00depends=sunrpc,nfs\x00name=nfsv4\x00": {"sunrpc", "nfs"},
		"depends=\x00name=loop\x00":                           nil,
		"":                                                    nil,
	} {
		if got := parseDepends(info); !slices.Equal(got, want) {
			t.Errorf("%q: got %v, want %v", info, got, want)
		}
	}
}

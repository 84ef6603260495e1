package volumeid

import (
	"errors"
	"strings"
	"testing"
)

const id = "abcdefghij234567"

func TestParseVolume(t *testing.T) {
	longest := "b" + strings.Repeat("x", 39)
	valid := map[string]Volume{
		"main/0/" + id:        {Shard{"main", 0}, id},
		"a/63/" + id:          {Shard{"a", 63}, id},
		"with-dash/9/" + id:   {Shard{"with-dash", 9}, id},
		longest + "/10/" + id: {Shard{longest, 10}, id},
		"main/0/e-media":      {Shard{"main", 0}, "e-media"},
		"main/0/e-" + longest: {Shard{"main", 0}, "e-" + longest},
	}
	for handle, want := range valid {
		got, err := ParseVolume(handle)
		if err != nil || got != want {
			t.Errorf("ParseVolume(%q) = %v, %v; want %v", handle, got, err, want)
		}
	}
	for _, handle := range badHandles() {
		if got, err := ParseVolume(handle); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseVolume(%q) = %v, %v; want ErrInvalid", handle, got, err)
		}
	}
}

func badHandles() []string {
	return []string{
		"", "/", "//", "main", "main/0", "main/0/", "/0/" + id, "main//" + id, "main/0//" + id,
		"main/0/" + id + "/", "main/0/" + id + "/x", "/main/0/" + id, " main/0/" + id, "main/0/" + id + "\n",
		"main/64/" + id, "main/-1/" + id, "main/00/" + id, "main/01/" + id, "main/+1/" + id, "main/x/" + id,
		"main/99999999999999999999/" + id,
		"Main/0/" + id, "0main/0/" + id, "-main/0/" + id, "main-/0/" + id, "ma.in/0/" + id, "ma_in/0/" + id,
		strings.Repeat("b", 41) + "/0/" + id,
		"main/0/..", "main/0/.", "../0/" + id, "main/../" + id, "main/0/../" + id, "main/0/..%2f" + id,
		"main/0/" + id[1:], "main/0/" + id + "a", "main/0/" + strings.ToUpper(id), "main/0/abcdefghij23456\x00",
		"main/0/abcdefghij234561", "main/0/s-" + id, "main/0/e-", "main/0/e--x", "main/0/e-x-", "main/0/e-a/b", "main/0/e-..", "main/0/e-A",
		"main/0/e-" + strings.Repeat("x", 41), "main/0/e-x\n", strings.Repeat("a/", 100000),
	}
}

func TestParseSnapshot(t *testing.T) {
	want := Snapshot{Shard{"main", 3}, id}
	got, err := ParseSnapshot("main/3/s-" + id)
	if err != nil || got != want {
		t.Errorf("ParseSnapshot = %v, %v; want %v", got, err, want)
	}
	for _, handle := range []string{"", "main/3/" + id, "main/3/s-", "main/3/s-s-" + id, "s-" + id, "main/3/S-" + id} {
		if got, err := ParseSnapshot(handle); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseSnapshot(%q) = %v, %v; want ErrInvalid", handle, got, err)
		}
	}
}

func TestInvalidHandleIsCutInMessage(t *testing.T) {
	_, err := ParseVolume(strings.Repeat("x", 1<<20))
	if len(err.Error()) > 250 {
		t.Errorf("message has %d characters", len(err.Error()))
	}
}

// FuzzParse proves that a text which is accepted has one spelling only and cannot leave its place in a path.
func FuzzParse(f *testing.F) {
	f.Add("main/0/" + id)
	f.Add("main/0/s-" + id)
	for _, handle := range badHandles()[:40] {
		f.Add(handle)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, errVolume := ParseVolume(text)
		s, errSnapshot := ParseSnapshot(text)
		if errVolume == nil && errSnapshot == nil {
			t.Fatalf("%q is a volume and a snapshot", text)
		}
		if errVolume == nil && v.String() != text {
			t.Fatalf("%q parsed and written is %q", text, v)
		}
		if errSnapshot == nil && s.String() != text {
			t.Fatalf("%q parsed and written is %q", text, s)
		}
		if errVolume == nil {
			if len(text) > 83 || strings.Contains(text, "..") {
				t.Fatalf("%q was accepted", text)
			}
			if shard, err := ParseShard(v.Shard.String()); err != nil || shard != v.Shard {
				t.Fatalf("ParseShard(%q) = %v, %v", v.Shard, shard, err)
			}
		}
	})
}

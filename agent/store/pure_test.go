package store

import (
	"math"
	"testing"
)

func TestID(t *testing.T) {
	// Vector made with: printf pvc-1 | sha256sum | xxd -r -p | base32
	if got := ID("pvc-1"); len(got) != 16 || !ValidID(got) || got != ID("pvc-1") || got == ID("pvc-2") {
		t.Errorf("id %q", got)
	}
}

func FuzzValidID(f *testing.F) {
	for _, s := range []string{"", "..", "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaa/", "../aaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if ValidID(s) {
			for _, r := range s {
				if (r < 'a' || r > 'z') && (r < '2' || r > '7') || len(s) != 16 {
					t.Errorf("%q passes", s)
				}
			}
		}
		if !ValidID(ID(s)) {
			t.Errorf("id of %q does not pass", s)
		}
	})
}

func FuzzParseDiscarded(f *testing.F) {
	f.Add("aaaaaaaaaaaaaaaa.1.1")
	f.Add("aaaaaaaaaaaaaaaa.01.1")
	f.Add("../aaaaaaaaaaaaa.1.1")
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := ParseDiscarded(s); ok && (d.String() != s || !ValidID(d.ID) || d.ProjectID == 0) {
			t.Errorf("%q gives %+v", s, d)
		}
	})
}

func FuzzDecodeVolume(f *testing.F) {
	f.Add([]byte(`{"id":"aaaaaaaaaaaaaaaa","exportID":1,"projectID":1,"state":"ready","spec":{"bytes":1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		const id = "aaaaaaaaaaaaaaaa"
		if v, err := decodeVolume(id, text); err == nil && (v.ID != id || v.ProjectID == 0 || v.ExportID == 0 || v.Spec.Bytes <= 0) {
			t.Errorf("%s gives %+v", text, v)
		}
	})
}

func FuzzDecodeNode(f *testing.F) {
	f.Add([]byte(`{"node":"n","grants":{"../..":{}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := decodeNode("n", text)
		if err != nil {
			return
		}
		for id := range n.Grants {
			if !ValidID(id) {
				t.Errorf("%s gives a grant for %q", text, id)
			}
		}
	})
}

func TestSizes(t *testing.T) {
	for name, c := range map[string]struct{ got, want int64 }{
		"small is raised":           {RoundVolumeBytes(1), mib},
		"whole blocks stay":         {RoundVolumeBytes(gib), gib},
		"broken blocks go up":       {RoundVolumeBytes(gib + 1), gib + BlockBytes},
		"huge does not overflow":    {RoundVolumeBytes(math.MaxInt64), math.MaxInt64 / BlockBytes * BlockBytes},
		"inodes of 1 GiB":           {Inodes(gib), 65536},
		"inodes of 1 MiB":           {Inodes(mib), 4096},
		"promise of 1 GiB":          {Spec{Bytes: gib}.Promise(), gib + 32*mib},
		"promise of more inodes":    {Spec{Bytes: gib, Inodes: 1 << 20}.Promise(), gib + 512*mib},
		"promise of many inodes":    {Spec{Bytes: gib, Inodes: math.MaxInt64}.Promise(), math.MaxInt64},
		"promise does not overflow": {Spec{Bytes: math.MaxInt64}.Promise(), math.MaxInt64},
		"reserve of a small disk":   {Reserve(2 * gib), 128 * mib},
		"reserve of 100 GiB":        {Reserve(100 * gib), 2 * gib},
		"reserve of 20 GiB":         {Reserve(20 * gib), gib},
		"reserve of 10 TiB":         {Reserve(10 << 40), 32 * gib},
		"ballast":                   {BallastBytes(100 * gib), 256 * mib},
		"ballast of a small disk":   {BallastBytes(2 * gib), 32 * mib},
		"nothing available":         {Largest(Free(gib, gib, 100)), 0},
		"too little available":      {Largest(Free(gib, gib-mib, 100)), 0},
		"over-commit":               {Largest(Free(33*gib, 33*gib, 200)), 32 * gib},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", name, c.got, c.want)
		}
	}
}

// What is said to be available can be promised, and hardly more.
func FuzzLargest(f *testing.F) {
	f.Add(100*gib, 3*gib)
	f.Add(gib, int64(0))
	f.Fuzz(func(t *testing.T, total, allocated int64) {
		if total < 0 || allocated < 0 || total > 1<<50 || allocated > total {
			return
		}
		got := Largest(Free(total, allocated, 100))
		if got > 0 && (Spec{Bytes: got}).Promise() > total-allocated {
			t.Errorf("%d available, but its promise %d is more than %d", got, Spec{Bytes: got}.Promise(), total-allocated)
		}
		if more := got + 64*mib; (Spec{Bytes: more}).Promise() <= total-allocated {
			t.Errorf("%d available, but %d would fit into %d", got, more, total-allocated)
		}
	})
}

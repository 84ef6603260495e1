package xfs

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

func TestDescribe(t *testing.T) {
	for out, want := range map[string]string{
		"DEVNAME=/dev/x\nLABEL=precious\nUUID=1-2\nTYPE=ext4\nUSAGE=filesystem\n": `ext4 file system with label "precious", UUID 1-2`,
		"PTUUID=1\nPTTYPE=gpt\n":                 "partition table (gpt)",
		"UUID=x\nTYPE=LVM2_member\nUSAGE=raid\n": "LVM2_member, UUID x",
		"SOMETHING=else\n":                       "something that blkid recognises",
	} {
		if got := describe(parseTags(out)); got != want {
			t.Errorf("%q: %q, want %q", out, got, want)
		}
	}
}

func block(label string, inProgress byte) []byte {
	b := make([]byte, 512)
	binary.BigEndian.PutUint32(b, 0x58465342)
	copy(b[offsetUUID:], "0123456789abcdef")
	copy(b[offsetLabel:], label)
	b[offsetInProgress] = inProgress
	return b
}

func TestSuperblock(t *testing.T) {
	for name, c := range map[string]struct {
		head           []byte
		ours, finished bool
	}{
		"ours":            {block(Label, 0), true, true},
		"half-made":       {block(Label, 1), true, false},
		"somebody else's": {block("theirs", 0), false, true},
		"nothing":         {make([]byte, 512), false, false},
	} {
		ours, finished := superblock(c.head)
		if ours != c.ours || finished != c.finished {
			t.Errorf("%s: ours %t, finished %t", name, ours, finished)
		}
	}
}

// A file stands for the device.
func TestInspectReadsTheEnds(t *testing.T) {
	const size = 8 << 20
	for name, c := range map[string]struct {
		at   int64
		want Kind
	}{
		"blank":                      {-1, Blank},
		"a byte at the start":        {0, Foreign},
		"a byte in the first MiB":    {headBytes - 1, Foreign},
		"a byte behind it":           {headBytes, Blank},
		"a byte before the last KiB": {size - tailBytes - 1, Blank},
		"a byte in them":             {size - tailBytes, Foreign},
		"the last byte":              {size - 1, Foreign},
	} {
		t.Run(name, func(t *testing.T) {
			content := make([]byte, size)
			if c.at >= 0 {
				content[c.at] = 1
			}
			path := filepath.Join(t.TempDir(), "device")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := Inspect(t.Context(), path)
			if err != nil || got.Kind != c.want {
				t.Errorf("found %+v, %v", got, err)
			}
		})
	}
	if _, err := Inspect(t.Context(), filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a missing device is not an error")
	}
}

// TestOursWithAnothersSignature: clients write files, and what they write can lie where blkid finds another kind of disk.
func TestOursWithAnothersSignature(t *testing.T) {
	const size = 8 << 20
	signature := []byte("Intel Raid ISM Cfg Sig. 1.2.01") // isw_raid_member
	for name, c := range map[string]struct {
		head []byte
		want Content
	}{
		"ours":            {block(Label, 0), Content{Kind: Ours, UUID: "30313233-3435-3637-3839-616263646566"}},
		"half-made":       {block(Label, 1), Content{Kind: Unfinished}},
		"somebody else's": {block("theirs", 0), Content{Kind: Foreign, Found: "isw_raid_member"}},
		"nothing":         {nil, Content{Kind: Foreign, Found: "isw_raid_member"}},
	} {
		content := make([]byte, size)
		copy(content, c.head)
		copy(content[size-1024:], signature)
		path := filepath.Join(t.TempDir(), "device")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Inspect(t.Context(), path); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

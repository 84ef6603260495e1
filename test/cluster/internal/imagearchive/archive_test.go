package imagearchive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "binary")
	if err := os.WriteFile(binary, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	image := Image{
		Names: []string{"example.com/a:1"}, Files: map[string]string{"/bin/a": binary}, Links: map[string]string{"/bin/b": "a"},
		Dirs: []string{"/tmp"}, Entrypoint: []string{"/bin/a"}, User: "65532:65532",
	}
	first, second := filepath.Join(dir, "1.tar"), filepath.Join(dir, "2.tar")
	for _, path := range []string{first, second} {
		if err := image.Write(path); err != nil {
			t.Fatal(err)
		}
	}
	files := read(t, first)
	for name, content := range read(t, second) {
		if !bytes.Equal(content, files[name]) {
			t.Errorf("%s differs from one time to the next", name)
		}
	}
	for name, content := range files { // every blob is what its name says
		if digest, ok := strings.CutPrefix(name, BlobPrefix); ok {
			if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != digest {
				t.Errorf("%s has another digest", name)
			}
		}
	}
	var docker []dockerManifest
	if err := json.Unmarshal(files["manifest.json"], &docker); err != nil {
		t.Fatal(err)
	}
	entries := read(t, writeTemp(t, files[docker[0].Layers[0]]))
	var names []string
	for n := range entries {
		names = append(names, n)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"bin/", "bin/a", "bin/b", "tmp/"}) || string(entries["bin/a"]) != "program" {
		t.Errorf("the layer has %v", names)
	}
}

func TestCopyWithout(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base.tar")
	if err := os.WriteFile(base, []byte("base"), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "image.tar")
	if err := (Image{Names: []string{"a:1"}, Base: base, Dirs: []string{"/x"}}).Write(path); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("base"))
	known := hex.EncodeToString(sum[:])
	left, err := CopyWithout(path, path+".less", func(digest string) bool { return digest == known })
	if err != nil || left != 1 {
		t.Fatalf("left out %d, %v", left, err)
	}
	before, after := read(t, path), read(t, path+".less")
	if len(after) != len(before)-1 || after[BlobPrefix+known] != nil {
		t.Errorf("%d of %d files are left", len(after), len(before))
	}
}

func writeTemp(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

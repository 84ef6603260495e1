// Package imagearchive writes container images as `docker save` does (an OCI layout with Docker's manifest.json beside it),
// without a container tool: an image that consists of a few files from the host needs none, and is made in the time it takes to
// copy them.
package imagearchive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Image has one layer of files, on top of a base or of nothing.
type Image struct {
	Names      []string          // with their tags
	Base       string            // the tar file of a layer below; none when empty
	Files      map[string]string // path in the image: file on the host
	Links      map[string]string // path in the image: target
	Dirs       []string          // further directories, mode 0777 if under /tmp
	Entrypoint []string
	Cmd        []string
	Env        []string
	User       string
}

type config struct {
	Architecture string    `json:"architecture"`
	OS           string    `json:"os"`
	Created      time.Time `json:"created"`
	Config       struct {
		Entrypoint []string `json:",omitempty"`
		Cmd        []string `json:",omitempty"`
		Env        []string `json:",omitempty"`
		User       string   `json:",omitempty"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// Write stores the image at path.
func (i Image) Write(path string) error {
	own := path + ".layer"
	defer os.Remove(own)
	digest, err := i.writeLayer(own)
	if err != nil {
		return fmt.Errorf("write layer of %s: %w", i.Names[0], err)
	}
	layers := []layerFile{{own, digest}}
	if i.Base != "" {
		digest, err := fileDigest(i.Base)
		if err != nil {
			return fmt.Errorf("read base of %s: %w", i.Names[0], err)
		}
		layers = append([]layerFile{{i.Base, digest}}, layers...)
	}
	if err := i.writeArchive(path+".tmp", layers); err != nil {
		os.Remove(path + ".tmp")
		return fmt.Errorf("write image %s: %w", i.Names[0], err)
	}
	return os.Rename(path+".tmp", path)
}

type layerFile struct{ path, digest string }

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (i Image) writeLayer(path string) (digest string, err error) {
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	w := tar.NewWriter(io.MultiWriter(f, hash))
	if err := i.layer(w); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), f.Close()
}

// layer writes parents first, in an order that does not change from one time to the next.
func (i Image) layer(w *tar.Writer) error {
	paths := slices.Clone(i.Dirs)
	for p := range i.Files {
		paths = append(paths, p)
	}
	for p := range i.Links {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	made := map[string]bool{".": true, "/": true}
	for _, p := range paths {
		if err := makeDirs(w, filepath.Dir(p), made); err != nil {
			return err
		}
		if err := i.entry(w, p, made); err != nil {
			return err
		}
	}
	return nil
}

func (i Image) entry(w *tar.Writer, path string, made map[string]bool) error {
	if source, ok := i.Files[path]; ok {
		return addFile(w, path, source)
	}
	if target, ok := i.Links[path]; ok {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name(path), Linkname: target, Mode: 0o777})
	}
	return makeDirs(w, path, made)
}

func makeDirs(w *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := makeDirs(w, filepath.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	mode := int64(0o755)
	if strings.HasPrefix(dir, "/tmp") {
		mode = 0o1777
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name(dir) + "/", Mode: mode})
}

func addFile(w *tar.Writer, path, source string) error {
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name(path), Mode: int64(info.Mode().Perm()), Size: info.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

func name(path string) string { return strings.TrimPrefix(path, "/") }

func (i Image) writeArchive(path string, layers []layerFile) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	a := archive{tar.NewWriter(f)}
	c := i.config(layers)
	m := manifest{SchemaVersion: 2, MediaType: typeManifest}
	docker := dockerManifest{RepoTags: i.Names}
	for _, l := range layers {
		info, err := os.Stat(l.path)
		if err != nil {
			return err
		}
		m.Layers = append(m.Layers, descriptor{MediaType: typeLayer, Digest: "sha256:" + l.digest, Size: info.Size()})
		docker.Layers = append(docker.Layers, BlobPrefix+l.digest)
		if err := addFile(a.Writer, BlobPrefix+l.digest, l.path); err != nil {
			return err
		}
	}
	if m.Config, err = a.blob(typeConfig, c); err != nil {
		return err
	}
	docker.Config = BlobPrefix + strings.TrimPrefix(m.Config.Digest, "sha256:")
	index := manifest{SchemaVersion: 2, MediaType: typeIndex}
	described, err := a.blob(typeManifest, m)
	if err != nil {
		return err
	}
	for _, name := range i.Names {
		described.Annotations = map[string]string{"io.containerd.image.name": name}
		index.Manifests = append(index.Manifests, described)
	}
	for _, file := range []struct {
		name    string
		content any
	}{
		{"index.json", index}, {"oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}}, {"manifest.json", []dockerManifest{docker}},
	} {
		if err := a.json(file.name, file.content); err != nil {
			return err
		}
	}
	if err := a.Close(); err != nil {
		return err
	}
	return f.Close()
}

func (i Image) config(layers []layerFile) config {
	var c config
	c.Architecture, c.OS = runtime.GOARCH, "linux"
	c.Config.Entrypoint, c.Config.Cmd, c.Config.Env, c.Config.User = i.Entrypoint, i.Cmd, i.Env, i.User
	c.RootFS.Type = "layers"
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, "sha256:"+l.digest)
	}
	return c
}

// Package dockerarchive writes container images as `docker save` does, without a container tool: an image that consists of a
// few files from the host needs none, and is made in the time it takes to copy them.
package dockerarchive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Image has one layer.
type Image struct {
	Names      []string          // with their tags
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
	layer := path + ".layer"
	defer os.Remove(layer)
	digest, err := i.writeLayer(layer)
	if err != nil {
		return fmt.Errorf("write layer of %s: %w", i.Names[0], err)
	}
	if err := i.writeArchive(path+".tmp", layer, digest); err != nil {
		os.Remove(path + ".tmp")
		return fmt.Errorf("write image %s: %w", i.Names[0], err)
	}
	return os.Rename(path+".tmp", path)
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

func (i Image) writeArchive(path, layer, digest string) error {
	var c config
	c.Architecture, c.OS = "amd64", "linux"
	c.Config.Entrypoint, c.Config.Cmd, c.Config.Env, c.Config.User = i.Entrypoint, i.Cmd, i.Env, i.User
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{"sha256:" + digest}
	configJSON, err := json.Marshal(c)
	if err != nil {
		return err
	}
	id := sha256.Sum256(configJSON)
	configName := hex.EncodeToString(id[:]) + ".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": i.Names, "Layers": []string{digest + "/layer.tar"}}})
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	if err := addFile(w, digest+"/layer.tar", layer); err != nil {
		return err
	}
	for n, content := range map[string][]byte{configName: configJSON, "manifest.json": manifest} {
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return err
		}
		if _, err := io.Copy(w, bytes.NewReader(content)); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/imagearchive"
)

// The names of the images are those in everybody's manifests: what is tested here is what is shipped.
const (
	pauseImage   = "registry.k8s.io/pause:3.10"
	corednsImage = "registry.k8s.io/coredns/coredns:v1.15.0"
	busyboxImage = "docker.io/library/busybox:1.36"
)

var (
	pause         = program{module: "pause", packages: ".", binary: "pause", cold: "a moment"}
	sidecarImages = map[string]string{ // binary: image
		"csi-provisioner":     "registry.k8s.io/sig-storage/csi-provisioner:v6.3.0",
		"csi-resizer":         "registry.k8s.io/sig-storage/csi-resizer:v2.3.0",
		"csi-snapshotter":     "registry.k8s.io/sig-storage/csi-snapshotter:v8.7.0",
		"snapshot-controller": "registry.k8s.io/sig-storage/snapshot-controller:v8.7.0",
	}
)

// buildImages returns the archives of all images that every node has, and makes those that are not in the cache.
func buildImages(ctx context.Context, p *progress) ([]string, error) {
	binaries := map[string]string{} // image: binary
	for image, b := range map[string]program{pauseImage: pause, corednsImage: coredns} {
		dir, err := b.build(ctx, p)
		if err != nil {
			return nil, err
		}
		binaries[image] = filepath.Join(dir, b.binary)
	}
	dir, err := sidecars.build(ctx, p)
	if err != nil {
		return nil, err
	}
	for binary, image := range sidecarImages {
		binaries[image] = filepath.Join(dir, binary)
	}
	var images []imagearchive.Image
	for image, binary := range binaries {
		inside := "/" + filepath.Base(binary)
		images = append(images, imagearchive.Image{
			Names: []string{image}, Files: map[string]string{inside: binary}, Entrypoint: []string{inside},
		})
	}
	busybox, err := busyboxArchive(ctx)
	if err != nil {
		return nil, err
	}
	images = append(images, busybox)
	slices.SortFunc(images, func(a, b imagearchive.Image) int { return strings.Compare(a.Names[0], b.Names[0]) })
	return writeImages(images)
}

// busyboxArchive is a shell with the usual small programs.
func busyboxArchive(ctx context.Context) (imagearchive.Image, error) {
	image := imagearchive.Image{
		Names: []string{busyboxImage}, Files: map[string]string{"/bin/busybox": "/bin/busybox"}, Links: map[string]string{},
		Dirs: []string{"/tmp", "/mnt", "/root", "/etc", "/var"}, Cmd: []string{"sh"}, Env: []string{"PATH=/bin"},
	}
	out, err := exec.CommandContext(ctx, "busybox", "--list").Output()
	if err != nil {
		return image, fmt.Errorf("list the programs in busybox: %w", err)
	}
	for applet := range strings.FieldsSeq(string(out)) {
		if applet != "busybox" {
			image.Links["/bin/"+applet] = "busybox"
		}
	}
	return image, addDynamic(ctx, image.Files, "/usr/bin/flock") // Debian's busybox has none
}

// addDynamic adds a program of the host together with the libraries that it needs.
func addDynamic(ctx context.Context, files map[string]string, program string) error {
	out, err := output(ctx, nil, "ldd", program)
	if err != nil {
		return err
	}
	files["/bin/"+filepath.Base(program)] = program
	for field := range strings.FieldsSeq(out) {
		if strings.HasPrefix(field, "/") {
			files[field] = field
		}
	}
	return nil
}

func writeImages(images []imagearchive.Image) ([]string, error) {
	dir := filepath.Join(cacheDir(), "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(dir, ".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	var files []string
	for _, image := range images {
		key, err := imageKey(image)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, imageFileName(image.Names[0])+"-"+key+".tar")
		files = append(files, file)
		if _, err := os.Stat(file); err == nil {
			continue
		}
		if err := image.Write(file); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// imageKey changes when a file in the image does: by path, size and time, for the binaries lie in directories named by content.
func imageKey(image imagearchive.Image) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "format 2", image)
	for _, inside := range slices.Sorted(maps.Keys(image.Files)) {
		source := image.Files[inside]
		info, err := os.Stat(source)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, source, info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

func imageFileName(image string) string {
	return strings.NewReplacer("/", "_", ":", "_").Replace(image)
}

// packImageCommand is for hack/images/build: it writes an image of a few files into the cache, where load-image finds it by name.
func packImageCommand(args []string) error {
	flags := flag.NewFlagSet("pack-image", flag.ContinueOnError)
	image := imagearchive.Image{Files: map[string]string{}, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}
	name := flags.String("name", "", "name and tag")
	flags.StringVar(&image.Base, "base", "", "tar file of the layer below")
	flags.StringVar(&image.User, "user", "", "UID:GID")
	flags.Func("file", "/path/in/image=file, repeatable", func(s string) error {
		inside, source, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not PATH=FILE", s)
		}
		image.Files[inside] = source
		return nil
	})
	if err := flags.Parse(args); err != nil || *name == "" {
		return exitError{2, "usage: cluster pack-image --name NAME:TAG [--base LAYER.tar] [--user UID:GID] --file /PATH=FILE... -- ENTRYPOINT..."}
	}
	image.Names, image.Entrypoint = []string{*name}, flags.Args()
	file := cachedImage(*name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := image.Write(file); err != nil {
		return err
	}
	fmt.Println(file)
	return nil
}

// cachedImage is where the archive of an image made by hack/images/build lies.
func cachedImage(name string) string {
	return filepath.Join(cacheDir(), "images", imageFileName(name)+".tar")
}

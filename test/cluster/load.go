package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/guest"
	"github.com/nfs-operator/nfs-operator/test/cluster/internal/imagearchive"
)

// loadImage imports an archive into all nodes. Layers that every node has already do not travel: the large one of the server
// image rarely changes.
func (c *cluster) loadImage(file string) error {
	known := make([][]string, c.Nodes)
	if err := c.onAllNodes(func(n int) (err error) { known[n-1], err = c.blobs(n); return err }); err != nil {
		return err
	}
	has := func(digest string) bool {
		return !slices.ContainsFunc(known, func(blobs []string) bool { return !slices.Contains(blobs, digest) })
	}
	// A name of its own each time: a node may still have another content of the same name in its memory.
	random := make([]byte, 8)
	_, _ = rand.Read(random)
	name := hex.EncodeToString(random) + ".tar"
	path := filepath.Join(c.imagesDir(), name)
	defer os.Remove(path)
	if _, err := imagearchive.CopyWithout(file, path, has); err != nil {
		return err
	}
	return c.onAllNodes(func(n int) error {
		if _, err := c.onNode(n, "ctr", "-n", "k8s.io", "images", "import", filepath.Join(nodeLoadedImages, name)); err != nil {
			return err
		}
		// containerd does not write unpacked layers to the disk: without power they would be empty files for ever after.
		_, err := c.onNode(n, "sync")
		return err
	})
}

func (c *cluster) onAllNodes(do func(n int) error) error {
	failed := make([]error, c.Nodes)
	var nodes sync.WaitGroup
	for n := 1; n <= c.Nodes; n++ {
		nodes.Go(func() { failed[n-1] = do(n) })
	}
	nodes.Wait()
	return errors.Join(failed...)
}

// blobs lists the digests that the node's containerd has.
func (c *cluster) blobs(n int) ([]string, error) {
	out, err := c.onNode(n, "ctr", "-n", "k8s.io", "content", "ls", "-q")
	if err != nil {
		return nil, err
	}
	return strings.Fields(strings.ReplaceAll(out, "sha256:", "")), nil
}

// onNode runs a command on the node for ourselves and returns what it printed.
func (c *cluster) onNode(n int, args ...string) (string, error) {
	conn, err := c.dialNode(n)
	if err != nil {
		return "", fmt.Errorf("reach %s: %w", nodeName(n), err)
	}
	defer conn.Close()
	var out, errs strings.Builder
	code, err := guest.Exec(conn, c.Token, args, &out, &errs)
	if err != nil {
		return "", err
	}
	if code != 0 {
		return "", fmt.Errorf("%s on %s: exit code %d: %s", strings.Join(args, " "), nodeName(n), code, strings.TrimSpace(errs.String()+out.String()))
	}
	return out.String(), nil
}

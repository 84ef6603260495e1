package imagearchive

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// BlobPrefix is the directory of all that is named by its digest.
const BlobPrefix = "blobs/sha256/"

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// manifest is an image's manifest, or with Manifests an index of them.
type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config,omitzero"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type archive struct{ *tar.Writer }

func (a archive) bytes(name string, content []byte) error {
	if err := a.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := a.Write(content)
	return err
}

func (a archive) json(name string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return a.bytes(name, data)
}

func (a archive) blob(mediaType string, content any) (descriptor, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: int64(len(data))}, a.bytes(BlobPrefix+digest, data)
}

// CopyWithout copies an archive and leaves out the blobs that the receiver has. It reports how many those were.
func CopyWithout(from, to string, has func(digest string) bool) (left int, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	r, w := tar.NewReader(in), tar.NewWriter(out)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", from, err)
		}
		if digest, ok := strings.CutPrefix(header.Name, BlobPrefix); ok && has(digest) {
			left++
			continue
		}
		if err := w.WriteHeader(header); err != nil {
			return 0, err
		}
		if _, err := io.Copy(w, r); err != nil {
			return 0, err
		}
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return left, out.Close()
}

//go:build vm

package agent

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/agent/nfs4"
)

const nfsAddress = "127.0.0.1:2049"

// testAForgedHandle is a node whose root is hostile. It had two volumes staged, and gave one back; the handles it has seen it keeps.
// What the test records as today's answer is in SECURITY.md: whoever changes it, changes that page, too.
func testAForgedHandle(t *testing.T, h *host.Host) {
	t.Helper()
	c := h.Controller(t)
	mine, other := create(t, c, "pvc-mine", 16*mib).GetId(), create(t, c, "pvc-other", 16*mib).GetId()
	secret := filepath.Join(h.DataDir(), "volumes", other, "secret")
	if err := os.WriteFile(secret, []byte("topsecret"), 0o600); err != nil {
		t.Fatal(err)
	}
	node := h.Node(t, "node-forge")
	open(t, node, mine)
	open(t, node, other)
	client, err := nfs4.Dial(nfsAddress, "forger")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Vanish()
	if err := client.Reclaimed(); err != nil {
		t.Fatal(err)
	}
	root, err := client.Lookup(mine)
	if err != nil {
		t.Fatal(err)
	}
	handle, err := client.Lookup(other, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.Read(handle, 100); err != nil || string(got) != "topsecret" {
		t.Fatalf("while it is staged: %q, %v", got, err)
	}
	announce(t, node, 2, mine)

	_, err = client.Lookup(other, "secret")
	wantStatus(t, "LOOKUP of a volume that is not staged", err, nfs4.ErrNoEntry)
	_, err = client.Read(handle, 100)
	wantStatus(t, "READ with its true handle", err, nfs4.ErrAccess)
	forged := handle.WithExport(root)
	got, err := client.Read(forged, 100)
	t.Logf("READ with the handle %s, forged from %s and the export of %s: %q, %v",
		hex.EncodeToString(forged), hex.EncodeToString(handle), hex.EncodeToString(root), got, err)
	if err != nil || string(got) != "topsecret" {
		t.Errorf("a forged handle is answered %q, %v: SECURITY.md says that it reads the other volume's data", got, err)
	}
	unknown := append(nfs4.Handle(nil), handle...)
	unknown[nfs4.ExportIDOffset], unknown[nfs4.ExportIDOffset+1] = 0xff, 0xfe
	_, err = client.Read(unknown, 100)
	wantStatus(t, "READ with the number of no export", err, nfs4.ErrStale)
	announce(t, node, 3)
	_, err = client.Read(forged, 100)
	wantStatus(t, "READ with the forged handle when nothing is staged", err, nfs4.ErrAccess)
}

func wantStatus(t *testing.T, what string, err error, want nfs4.Status) {
	t.Helper()
	var got nfs4.Status
	if !errors.As(err, &got) || got != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

package story

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWrites(t *testing.T) {
	k := Kubectl{Kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.MkdirAll(filepath.Dir(k.AuditLog()), 0o700); err != nil {
		t.Fatal(err)
	}
	event := func(at, verb, group, resource string) string {
		return `{"kind":"Event","verb":"` + verb + `","user":{"username":"manager"},"objectRef":{"apiGroup":"` + group + `","resource":"` + resource +
			`","subresource":"status","namespace":"n","name":"o"},"requestReceivedTimestamp":"2026-11-22T01:` + at + `.123456Z"}` + "\n"
	}
	text := event("00:00", "patch", "storage.nfs-operator.io", "nfsbackends") + // before
		event("10:00", "update", "coordination.k8s.io", "leases") +
		event("10:01", "create", "authentication.k8s.io", "tokenreviews") +
		event("10:02", "patch", "storage.nfs-operator.io", "nfsbackends") +
		event("10:03", "list", "storage.nfs-operator.io", "nfsbackends") +
		event("20:00", "patch", "storage.nfs-operator.io", "nfsbackends") // after
	if err := os.WriteFile(k.AuditLog(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 11, 22, 1, 5, 0, 0, time.UTC)
	writes, err := k.Writes(from, from.Add(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if len(writes) != 1 || writes[0].String() != "manager: patch nfsbackends/status n/o" {
		t.Errorf("writes = %v", writes)
	}
	if writes, err = k.LeaseWrites(from, from.Add(10*time.Minute)); err != nil || len(writes) != 1 || writes[0].String() != "manager: update leases/status n/o" {
		t.Errorf("writes of leases = %v, %v", writes, err)
	}
	requests, err := k.Requests()
	if err != nil {
		t.Fatal(err)
	}
	if len(requests) != 6 {
		t.Errorf("requests = %v", requests)
	}
	if _, err := (Kubectl{Kubeconfig: "/nowhere/kubeconfig"}).Writes(from, from); err == nil || !strings.Contains(err.Error(), "audit log") {
		t.Errorf("without a log: %v", err)
	}
}

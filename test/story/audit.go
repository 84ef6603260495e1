package story

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Write is one write of our components to the API.
type Write struct {
	User, Verb, Resource, Object string
}

func (w Write) String() string {
	return fmt.Sprintf("%s: %s %s %s", w.User, w.Verb, w.Resource, w.Object)
}

// AuditLog is the file in which a cluster of test/cluster notes what the service accounts of nfs-operator-system write.
func (k Kubectl) AuditLog() string {
	return filepath.Join(filepath.Dir(k.Kubeconfig), "logs", "audit.log")
}

type auditEvent struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef struct {
		APIGroup, Resource, Subresource, Namespace, Name string
	} `json:"objectRef"`
	Received time.Time `json:"requestReceivedTimestamp"`
}

// Writes lists what our components wrote from one moment to another, except leases, and reviews, which change nothing.
func (k Kubectl) Writes(from, to time.Time) ([]Write, error) {
	file, err := os.Open(k.AuditLog())
	if err != nil {
		return nil, fmt.Errorf("the API server's audit log, which only clusters of test/cluster have: %w", err)
	}
	defer func() { _ = file.Close() }()
	var writes []Write
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("%s: %w", k.AuditLog(), err)
		}
		group := e.ObjectRef.APIGroup
		if e.Received.Before(from) || e.Received.After(to) || e.ObjectRef.Resource == "leases" ||
			group == "authentication.k8s.io" || group == "authorization.k8s.io" {
			continue
		}
		resource := e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			resource += "/" + e.ObjectRef.Subresource
		}
		writes = append(writes, Write{e.User.Username, e.Verb, resource, e.ObjectRef.Namespace + "/" + e.ObjectRef.Name})
	}
	return writes, lines.Err()
}

package story

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Request is one request of our components to the API server.
type Request struct {
	User, Verb, Group string
	Resource          string // with its subresource: "nfsbackends/status"
	Namespace, Name   string
	Refused           bool // by RBAC; what an admission policy refuses was allowed to be asked
	received          time.Time
}

func (r Request) String() string {
	return fmt.Sprintf("%s: %s %s %s/%s", r.User, r.Verb, r.Resource, r.Namespace, r.Name)
}

// AuditLog is the file in which a cluster of test/cluster notes what the service accounts of nfs-operator-system ask for.
func (k Kubectl) AuditLog() string {
	return filepath.Join(filepath.Dir(k.Kubeconfig), "logs", "audit.log")
}

type auditEvent struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	ObjectRef *struct {
		APIGroup, Resource, Subresource, Namespace, Name string
	} `json:"objectRef"`
	Received    time.Time         `json:"requestReceivedTimestamp"`
	Annotations map[string]string `json:"annotations"`
}

// Requests lists what our components asked for, since the cluster was made, of resources: discovery and the like are not in it.
func (k Kubectl) Requests() ([]Request, error) {
	// A log that has grown too large is renamed, with the time in its name.
	rotated, err := filepath.Glob(strings.TrimSuffix(k.AuditLog(), ".log") + "-*.log")
	if err != nil {
		return nil, err
	}
	slices.Sort(rotated)
	var all []Request
	for _, file := range append(rotated, k.AuditLog()) {
		requests, err := readAudit(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the API server's audit log, which only clusters of test/cluster have: %w", err)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, requests...)
	}
	return all, nil
}

func readAudit(name string) ([]Request, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	var requests []Request
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, err
		}
		o := e.ObjectRef
		if o == nil {
			continue
		}
		resource := o.Resource
		if o.Subresource != "" {
			resource += "/" + o.Subresource
		}
		requests = append(requests, Request{
			User: e.User.Username, Verb: e.Verb, Group: o.APIGroup, Resource: resource, Namespace: o.Namespace, Name: o.Name,
			Refused: e.Annotations["authorization.k8s.io/decision"] == "forbid", received: e.Received,
		})
	}
	return requests, lines.Err()
}

// Writes lists what our components wrote from one moment to another, except leases, and reviews, which change nothing.
func (k Kubectl) Writes(from, to time.Time) ([]Request, error) {
	return k.writes(from, to, func(r Request) bool {
		return !slices.Contains([]string{"coordination.k8s.io", "authentication.k8s.io", "authorization.k8s.io"}, r.Group)
	})
}

// LeaseWrites lists their writes of leases.
func (k Kubectl) LeaseWrites(from, to time.Time) ([]Request, error) {
	return k.writes(from, to, func(r Request) bool { return r.Group == "coordination.k8s.io" })
}

func (k Kubectl) writes(from, to time.Time, counts func(Request) bool) ([]Request, error) {
	requests, err := k.Requests()
	return slices.DeleteFunc(requests, func(r Request) bool {
		return r.received.Before(from) || r.received.After(to) || slices.Contains([]string{"get", "list", "watch"}, r.Verb) || !counts(r)
	}), err
}

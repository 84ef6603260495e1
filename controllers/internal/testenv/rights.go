//go:build envtest

package testenv

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"
)

// Right is a verb on a resource of an API group, as RBAC names them: "list apps/statefulsets". A subresource is part of
// the resource's name.
type Right string

// Requests records what a client asks of the API server.
type Requests struct {
	lock   sync.Mutex
	used   map[Right]bool
	denied map[Right]bool
	counts map[Right]int
	writes []string
}

// Record makes all clients of a configuration tell what they ask.
func Record(config *rest.Config) *Requests {
	r := &Requests{used: map[Right]bool{}, denied: map[Right]bool{}, counts: map[Right]int{}}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			response, err := next.RoundTrip(request)
			if right := rightOf(request); right != "" && err == nil {
				r.note(right, request, response.StatusCode)
			}
			return response, err
		})
	})
	return r
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

func (r *Requests) note(right Right, request *http.Request, code int) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.counts[right]++
	r.used[right] = true
	if made, isPatch := strings.CutPrefix(string(right), "patch "); isPatch && code == http.StatusCreated {
		r.used[Right("create "+made)] = true // of an apply that makes the object the API server asks for both
	}
	if code == http.StatusForbidden {
		r.denied[right] = true
	}
	if request.Method != http.MethodGet {
		r.writes = append(r.writes, request.Method+" "+request.URL.Path)
	}
}

// Used is what was asked for, and Denied what of it the API server refused.
func (r *Requests) Used() map[Right]bool {
	r.lock.Lock()
	defer r.lock.Unlock()
	return maps.Clone(r.used)
}

// Denied is what the API server refused.
func (r *Requests) Denied() []Right {
	r.lock.Lock()
	defer r.lock.Unlock()
	return slices.Sorted(maps.Keys(r.denied))
}

// Counts is how many requests there were of each kind, reads included.
func (r *Requests) Counts() map[Right]int {
	r.lock.Lock()
	defer r.lock.Unlock()
	return maps.Clone(r.counts)
}

// Writes since the last call, but for the leases'.
func (r *Requests) Writes() []string {
	r.lock.Lock()
	defer r.lock.Unlock()
	writes := slices.DeleteFunc(r.writes, func(write string) bool { return strings.Contains(write, "/leases/") })
	r.writes = nil
	return writes
}

// rightOf reads /api/v1/... and /apis/GROUP/VERSION/...; of anything else (discovery, health) it says nothing.
func rightOf(request *http.Request) Right {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	group := ""
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		group, parts = parts[1], parts[3:]
	default:
		return ""
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	resource, named := parts[0], len(parts) > 1
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	return Right(verbOf(request, named) + " " + group + "/" + resource)
}

func verbOf(request *http.Request, named bool) string {
	switch request.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if named {
			return "delete"
		}
		return "deletecollection"
	}
	switch {
	case request.URL.Query().Get("watch") != "":
		return "watch"
	case named:
		return "get"
	}
	return "list"
}

// Granted are the rights of rules.
func Granted(rules []rbacv1.PolicyRule) map[Right]bool {
	granted := map[Right]bool{}
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					granted[Right(fmt.Sprintf("%s %s/%s", verb, group, resource))] = true
				}
			}
		}
	}
	return granted
}

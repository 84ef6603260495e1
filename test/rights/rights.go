// Package rights compares the rights that config/rbac grants with those that were used on a cluster.
package rights

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/nfs-operator/nfs-operator/test/story"
)

// right is one verb on one resource; namespace is that of the Role that grants it, and empty for a ClusterRole.
type right struct{ verb, group, resource, namespace string }

func (r right) String() string {
	where := "in the cluster"
	if r.namespace != "" {
		where = "in " + r.namespace
	}
	return fmt.Sprintf("%s %s/%s %s", r.verb, r.group, r.resource, where)
}

// granted are the rights that the Roles and ClusterRoles of a file grant.
func granted(file string) (map[right]bool, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	rights := map[right]bool{}
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		var role rbacv1.Role
		if err := documents.Decode(&role); errors.Is(err, io.EOF) {
			return rights, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if !slices.Contains([]string{"Role", "ClusterRole"}, role.Kind) {
			continue
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						rights[right{verb, group, resource, role.Namespace}] = true
					}
				}
			}
		}
	}
}

// unused are the granted rights that no request needed. A request needs the right of a Role where one allows it, and only else that
// of a ClusterRole. Who may watch may list and get, for it is the same data, and an informer uses all three.
func unused(granted map[right]bool, requests []story.Request) []right {
	used := map[right]bool{}
	for _, r := range requests {
		needed := right{r.Verb, r.Group, r.Resource, r.Namespace}
		if !granted[needed] {
			needed.namespace = ""
		}
		used[needed] = true
	}
	var idle []right
	for g := range granted {
		watch, list := g, g
		watch.verb, list.verb = "watch", "list"
		implied := (g.verb == "get" || g.verb == "list") && (used[watch] || used[list])
		if !used[g] && !implied {
			idle = append(idle, g)
		}
	}
	slices.SortFunc(idle, byName)
	return idle
}

// refused are the rights that were asked for and that nothing grants. A right that is granted may have been refused for a moment, until
// the API server had read the role.
func refused(granted map[right]bool, requests []story.Request) []right {
	missing := map[right]bool{}
	for _, r := range requests {
		inNamespace := right{r.Verb, r.Group, r.Resource, r.Namespace}
		inCluster := right{r.Verb, r.Group, r.Resource, ""}
		if r.Refused && !granted[inNamespace] && !granted[inCluster] {
			missing[inCluster] = true
		}
	}
	return slices.SortedFunc(maps.Keys(missing), byName)
}

func byName(a, b right) int { return strings.Compare(a.String(), b.String()) }

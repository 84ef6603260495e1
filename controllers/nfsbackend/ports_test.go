package nfsbackend

import (
	"fmt"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
)

func TestNodesWithoutPrivilegedPortsAreNamed(t *testing.T) {
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("node-%02d", i))
	}
	for name, test := range map[string]struct {
		agents []*agentv1.ServerStatus // of the shards; nil cannot be asked
		status metav1.ConditionStatus  // empty is no condition
		says   string
	}{
		"none":                   {[]*agentv1.ServerStatus{{}, {}}, metav1.ConditionFalse, "all nodes"},
		"one, of both":           {[]*agentv1.ServerStatus{{UnprivilegedNodes: many[:1]}, {UnprivilegedNodes: many[:1]}}, metav1.ConditionTrue, "of node-00 do not"},
		"many":                   {[]*agentv1.ServerStatus{{UnprivilegedNodes: many}}, metav1.ConditionTrue, "node-09 and 2 more"},
		"one cannot be asked":    {[]*agentv1.ServerStatus{{UnprivilegedNodes: many[:1]}, nil}, "", ""},
		"no servers of our own ": {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scope{}
			for _, agent := range test.agents {
				s.shards = append(s.shards, &shardState{agent: agent})
			}
			var list []metav1.Condition
			setUnprivileged(s, conditions.Setter{Conditions: &list})
			c := apimeta.FindStatusCondition(list, v1alpha1.ConditionUnprivilegedNodes)
			if test.status == "" {
				if c != nil {
					t.Errorf("condition is %+v", c)
				}
				return
			}
			if c == nil || c.Status != test.status || !strings.Contains(c.Message, test.says) {
				t.Errorf("condition is %+v", c)
			}
		})
	}
}

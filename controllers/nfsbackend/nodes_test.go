//go:build envtest

package nfsbackend

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

func TestOnlyNodesThatAreReallyGoneLoseTheirGrants(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	taint := corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}
	for name, taints := range map[string][]corev1.Taint{"silent": nil, "fenced": {taint}} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Taints: taints}}
		w.Expect(w.c.Create(t.Context(), node)).To(Succeed())
		defer func() { w.Expect(w.c.Delete(t.Context(), node)).To(Succeed()) }()
	}
	status := serving(1)
	status.GrantedNodes = []string{"announcing", "fenced", "removed", "silent"}
	status.Nodes = []string{"announcing"} // which has no Node object: it lives all the same
	w.agents.status = status
	w.pass()
	w.Expect(w.agents.gone).To(Equal([]string{"fenced gone=true fenced=true"}))
	w.Expect(w.events()).To(ContainElement(HavePrefix("Normal NodeGone Closed the grants of node fenced")))

	w.agents.gone = nil
	status.GrantedNodes, status.GoneNodes = []string{"announcing", "removed", "silent"}, []string{"fenced"}
	w.ahead += goneAfter - time.Minute
	w.pass()
	w.Expect(w.agents.gone).To(BeEmpty(), "it may be registered anew")
	w.ahead += time.Minute
	w.pass()
	w.Expect(w.agents.gone).To(Equal([]string{"removed gone=true fenced=false"}))

	w.agents.gone = nil
	status.GrantedNodes, status.GoneNodes = []string{"announcing", "silent"}, []string{"fenced", "removed"}
	w.pass()
	w.Expect(w.agents.gone).To(BeEmpty(), "neither is back")
	back := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "removed"}}
	w.Expect(w.c.Create(t.Context(), back)).To(Succeed())
	defer func() { w.Expect(w.c.Delete(t.Context(), back)).To(Succeed()) }()
	w.pass()
	w.Expect(w.agents.gone).To(Equal([]string{"removed gone=false fenced=false"}))
	w.Expect(w.events()).To(ContainElement(HavePrefix("Normal NodeBack Node removed is back")))
}

// A node that was installed anew under its name does not know which servers it has used, so it tells them nothing.
func TestWhatANodeWasGrantedBeforeItBootedIsClosed(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	ready := []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	lost := []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
	for name, is := range map[string]corev1.NodeStatus{
		"anew":     {NodeInfo: corev1.NodeSystemInfo{BootID: "now"}, Conditions: ready},
		"broken":   {NodeInfo: corev1.NodeSystemInfo{BootID: "then"}, Conditions: ready}, // its node plugin; its mounts live
		"lost":     {NodeInfo: corev1.NodeSystemInfo{BootID: "now"}, Conditions: lost},   // and nobody knows
		"nameless": {Conditions: ready},
		"waits":    {NodeInfo: corev1.NodeSystemInfo{BootID: "now"}, Conditions: ready}, // silent for a moment, as far as the agent is concerned
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "boot-" + name}}
		w.Expect(w.c.Create(t.Context(), node)).To(Succeed())
		defer func() { w.Expect(w.c.Delete(t.Context(), node)).To(Succeed()) }()
		node.Status = is
		w.Expect(w.c.Status().Update(t.Context(), node)).To(Succeed())
	}
	status := serving(1)
	status.GrantedNodes = []string{"boot-anew", "boot-broken", "boot-lost", "boot-nameless", "boot-waits"}
	status.SilentBoots = map[string]string{"boot-anew": "then", "boot-broken": "then", "boot-lost": "then", "boot-nameless": "then"}
	w.agents.status = status
	w.pass()
	w.Expect(w.agents.gone).To(Equal([]string{"boot-anew gone=false fenced=false ended=then"}))
	w.Expect(w.events()).To(ContainElement(HavePrefix("Normal NodeBooted Closed the grants that node boot-anew had")))

	w.agents.gone = nil
	status.GrantedNodes, status.SilentBoots = []string{"boot-lost"}, map[string]string{"boot-lost": "then"}
	w.pass()
	w.Expect(w.agents.gone).To(BeEmpty(), "there is nothing left to close")
}

func TestNodesAreFollowedWhileADeletionWaits(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.delete()
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonDeletionBlocked))
	status := serving(1)
	status.GrantedNodes = []string{"removed-while-waiting"}
	w.agents.status = status
	w.pass()
	w.ahead += goneAfter
	w.pass()
	w.Expect(w.agents.gone).To(Equal([]string{"removed-while-waiting gone=true fenced=false"}))
}

func TestNodeObjectMadeAnewInTimeCostsNothing(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	status := serving(1)
	status.GrantedNodes = []string{"flapping"}
	w.agents.status = status
	w.pass()
	w.ahead += goneAfter - time.Minute
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "flapping"}}
	w.Expect(w.c.Create(t.Context(), node)).To(Succeed())
	w.pass()
	w.Expect(w.c.Delete(t.Context(), node)).To(Succeed())
	w.ahead += 2 * time.Minute
	w.pass()
	w.Expect(w.agents.gone).To(BeEmpty(), "the time is counted anew")
}

func TestAgentThatCannotBeToldStopsNothing(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	status := serving(1)
	status.GrantedNodes = []string{"removed"}
	w.agents.status, w.agents.deaf = status, errors.New("unknown method SetNodeGone")
	w.pass()
	w.ahead += goneAfter
	set := &appsv1.StatefulSet{}
	w.get(w.shard(), set)
	w.Expect(w.c.Delete(t.Context(), set)).To(Succeed())
	w.settle()
	w.get(w.shard(), set)
	w.Expect(w.agents.gone).NotTo(BeEmpty())
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonServing))
}

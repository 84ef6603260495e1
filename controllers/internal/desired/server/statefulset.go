package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
)

// StatefulSet runs the shard's only pod. It never replaces that pod for a changed template (OnDelete): the operator
// deletes it, when the other servers of the backend serve. It has no volumeClaimTemplates, which are immutable: the
// claim is an object of its own, and growth is a patch of it.
func StatefulSet(s Shard) (*appsv1ac.StatefulSetApplyConfiguration, error) {
	template, err := podTemplate(s)
	if err != nil {
		return nil, err
	}
	return appsv1ac.StatefulSet(s.Name(), s.Namespace).
		WithLabels(s.Labels()).
		WithSpec(appsv1ac.StatefulSetSpec().
			WithReplicas(1).
			WithServiceName(s.Name()).
			WithRevisionHistoryLimit(2).
			WithUpdateStrategy(appsv1ac.StatefulSetUpdateStrategy().WithType(appsv1.OnDeleteStatefulSetStrategyType)).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(s.Labels())).
			WithTemplate(template)), nil
}

func podTemplate(s Shard) (*corev1ac.PodTemplateSpecApplyConfiguration, error) {
	hash, err := TemplateHash(s)
	if err != nil {
		return nil, err
	}
	return corev1ac.PodTemplateSpec().
		WithLabels(s.Labels()).
		WithAnnotations(map[string]string{meta.AnnotationTemplateHash: hash}).
		WithSpec(podSpec(s).WithTolerations(evictionTolerations(s.DiskOnNetwork || s.External())...)), nil
}

// TemplateHash tells whether a running pod is what it should be. It covers the pod's specification and the agent's
// configuration, which is read once at start. It leaves out the tolerations that follow from the kind of disk: that is
// known only after the claim is bound, and no reason to interrupt a server. Nor is the identity of its disk, or of an external share.
func TemplateHash(s Shard) (string, error) {
	s.ServerID = ""
	config, err := agentConfig(s)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(podSpec(s))
	if err != nil {
		return "", fmt.Errorf("marshal pod of %s: %w", s.Name(), err)
	}
	sum := sha256.Sum256(append(text, config...))
	return hex.EncodeToString(sum[:8]), nil
}

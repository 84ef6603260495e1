package server

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/podspec"
)

// externalTerminationSeconds is enough to finish a request and to unmount.
const externalTerminationSeconds = 30

// externalCapabilities is all that the agent of an external share needs. It starts nothing, and acts for nobody else.
var externalCapabilities = []corev1.Capability{
	"CHOWN", "FOWNER", "FSETID", // give directories and copies their owners and modes
	"DAC_OVERRIDE", "DAC_READ_SEARCH", // whatever the modes of tenants' directories, for the client's own checks
	"SYS_ADMIN", // mount the share
}

// Deployment runs the agent of an external share. Two agents must not work on one share: Recreate ends the former before
// it starts another; where a node is lost, the agents settle it by a lock on the share.
func Deployment(s Shard) (*appsv1ac.DeploymentApplyConfiguration, error) {
	template, err := podTemplate(s)
	if err != nil {
		return nil, err
	}
	return appsv1ac.Deployment(s.Name(), s.Namespace).
		WithLabels(s.Labels()).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(1).
			WithRevisionHistoryLimit(2).
			WithStrategy(appsv1ac.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType)).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(s.Labels())).
			WithTemplate(template)), nil
}

func externalPodSpec(s Shard) *corev1ac.PodSpecApplyConfiguration {
	container := asAgent(s, corev1ac.Container().WithName("agent"), podspec.Requests("20m", "64Mi"), externalCapabilities)
	return asAgentPod(s, corev1ac.PodSpec(), container, externalTerminationSeconds)
}

// CheckExternal says whether the agent can use what the backend's spec and annotations say.
func CheckExternal(s Shard) error { return externalConfig(s).Validate() }

func externalConfig(s Shard) *config.External {
	external := s.Backend.Spec.External
	return &config.External{
		Server: external.Server, Path: external.Path, MountOptions: external.MountOptions,
		Owner: s.Cluster + "/" + s.Backend.Name, TakeOver: s.Backend.Annotations[meta.AnnotationTakeOverShare], ServerID: s.ServerID,
	}
}

package driver

import (
	"fmt"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// Of the levels that the NFSDriver names, what our own programs and what the sidecars call them. A sidecar's 5 would
// print every request of the API.
var (
	ownLevels     = map[v1alpha1.LogLevel]int{v1alpha1.LogInfo: 0, v1alpha1.LogDebug: 1, v1alpha1.LogTrace: 4}
	sidecarLevels = map[v1alpha1.LogLevel]int{v1alpha1.LogInfo: 2, v1alpha1.LogDebug: 4, v1alpha1.LogTrace: 5}
)

func ownLogLevel(s Stack) string {
	return fmt.Sprintf("--log-level=%d", ownLevels[s.Driver.Spec.LogLevel])
}

func sidecarLogLevel(s Stack) string {
	level, known := sidecarLevels[s.Driver.Spec.LogLevel]
	if !known {
		level = sidecarLevels[v1alpha1.LogInfo]
	}
	return fmt.Sprintf("--v=%d", level)
}

// priorityClass is the one that is asked for, or the system's. Outside kube-system some clusters admit the system's only
// where a ResourceQuota names it; config/manager has one.
func priorityClass(asked, fallback string) string {
	if asked != "" {
		return asked
	}
	return fallback
}

func nodeSelector(labels map[string]v1alpha1.LabelValue) map[string]string {
	out := make(map[string]string, len(labels))
	for key, value := range labels {
		out[key] = string(value)
	}
	return out
}

// resources are those that are asked for in whole, or else the fallback.
func resources(asked *v1alpha1.ContainerResources, fallback *corev1ac.ResourceRequirementsApplyConfiguration) *corev1ac.ResourceRequirementsApplyConfiguration {
	if asked == nil {
		return fallback
	}
	out := corev1ac.ResourceRequirements()
	if len(asked.Requests) > 0 {
		out.WithRequests(asked.Requests)
	}
	if len(asked.Limits) > 0 {
		out.WithLimits(asked.Limits)
	}
	return out
}

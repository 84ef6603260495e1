// Package podspec holds the small pieces that the pods of all operands are made of.
package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
)

// Port is a TCP port of a container. The protocol is said, for the API server keys ports by it.
func Port(name string, port int32) *corev1ac.ContainerPortApplyConfiguration {
	return corev1ac.ContainerPort().WithName(name).WithContainerPort(port).WithProtocol(corev1.ProtocolTCP)
}

// EmptyDir is a volume that lives as long as its pod.
func EmptyDir(name string) *corev1ac.VolumeApplyConfiguration {
	return corev1ac.Volume().WithName(name).WithEmptyDir(corev1ac.EmptyDirVolumeSource())
}

// MemoryDir is the same in memory.
func MemoryDir(name string) *corev1ac.VolumeApplyConfiguration {
	return corev1ac.Volume().WithName(name).WithEmptyDir(
		corev1ac.EmptyDirVolumeSource().WithMedium(corev1.StorageMediumMemory))
}

// Mount mounts a volume.
func Mount(volume, path string) *corev1ac.VolumeMountApplyConfiguration {
	return corev1ac.VolumeMount().WithName(volume).WithMountPath(path)
}

// ReadOnly mounts a volume for reading.
func ReadOnly(volume, path string) *corev1ac.VolumeMountApplyConfiguration {
	return Mount(volume, path).WithReadOnly(true)
}

// FieldEnv is an environment variable with a field of the pod. The version is said because the reference is atomic: its
// defaults become ours, and would differ from what we applied for ever.
func FieldEnv(name, path string) *corev1ac.EnvVarApplyConfiguration {
	return corev1ac.EnvVar().WithName(name).WithValueFrom(
		corev1ac.EnvVarSource().WithFieldRef(corev1ac.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath(path)))
}

// Requests asks for CPU and memory, and sets no limit.
func Requests(cpu, memory string) *corev1ac.ResourceRequirementsApplyConfiguration {
	return corev1ac.ResourceRequirements().WithRequests(corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory),
	})
}

// Unprivileged is the security context of a container that needs no rights at all.
func Unprivileged() *corev1ac.SecurityContextApplyConfiguration {
	return corev1ac.SecurityContext().
		WithAllowPrivilegeEscalation(false).
		WithReadOnlyRootFilesystem(true).
		WithRunAsNonRoot(true).
		WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))
}

// Tolerations converts the tolerations of a custom resource.
func Tolerations(in []corev1.Toleration) []*corev1ac.TolerationApplyConfiguration {
	out := make([]*corev1ac.TolerationApplyConfiguration, 0, len(in))
	for _, t := range in {
		toleration := corev1ac.Toleration()
		if t.Key != "" {
			toleration.WithKey(t.Key)
		}
		if t.Operator != "" {
			toleration.WithOperator(t.Operator)
		}
		if t.Value != "" {
			toleration.WithValue(t.Value)
		}
		if t.Effect != "" {
			toleration.WithEffect(t.Effect)
		}
		if t.TolerationSeconds != nil {
			toleration.WithTolerationSeconds(*t.TolerationSeconds)
		}
		out = append(out, toleration)
	}
	return out
}

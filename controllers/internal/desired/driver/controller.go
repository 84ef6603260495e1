package driver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/podspec"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

const (
	volumeSocket = "socket"
	volumeTLS    = "tls"
	dirSocket    = "/csi"
	csiAddress   = "--csi-address=unix:///csi/csi.sock"

	// unprivilegedID is the user and group of all containers of the controller's pod: they share a socket.
	unprivilegedID = 65532
)

// Controller is the Deployment of the CSI controller: our service behind a socket, and the official sidecars. Each
// sidecar elects a leader of its own, so a second replica takes over within a lease.
func Controller(s Stack) *appsv1ac.DeploymentApplyConfiguration {
	labels := meta.Component(names.ComponentController)
	containers := []*corev1ac.ContainerApplyConfiguration{controllerContainer(s), provisioner(s), resizer(s)}
	if s.Snapshots {
		containers = append(containers, snapshotter(s))
	}
	spec := corev1ac.PodSpec().
		WithServiceAccountName(names.ComponentController).
		WithPriorityClassName(priorityClass(s.Driver.Spec.Controller.PriorityClassName, "system-cluster-critical")).
		WithNodeSelector(nodeSelector(s.Driver.Spec.Controller.NodeSelector)).
		WithEnableServiceLinks(false).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithRunAsUser(unprivilegedID).
			WithRunAsGroup(unprivilegedID).
			WithFSGroup(unprivilegedID).
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithAffinity(apart(labels)).
		WithTolerations(podspec.Tolerations(s.Driver.Spec.Controller.Tolerations)...).
		WithContainers(containers...).
		WithVolumes(
			podspec.EmptyDir(volumeSocket),
			corev1ac.Volume().WithName(volumeTLS).WithSecret(
				corev1ac.SecretVolumeSource().WithSecretName(names.SecretController).WithDefaultMode(0o440)),
		)
	return appsv1ac.Deployment(names.ComponentController, s.Namespace).
		WithLabels(labels).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(s.Driver.Spec.Controller.Replicas).
			WithRevisionHistoryLimit(2).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(podTemplate(labels, s.ControllerAccount, spec)))
}

func controllerContainer(s Stack) *corev1ac.ContainerApplyConfiguration {
	return corev1ac.Container().
		WithName("csi-controller").
		WithImage(s.Images.Operator).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithCommand("/nfs-operator", "csi-controller").
		WithArgs(
			csiAddress,
			"--tls-dir="+names.DirTLS,
			"--namespace="+s.Namespace,
			"--health-address=:9062",
			ownLogLevel(s),
		).
		WithPorts(podspec.Port("health", names.PortControllerHealth)).
		WithResources(resources(s.Driver.Spec.Controller.Resources, podspec.Requests("10m", "48Mi"))).
		WithSecurityContext(podspec.Unprivileged()).
		WithVolumeMounts(podspec.Mount(volumeSocket, dirSocket), podspec.ReadOnly(volumeTLS, names.DirTLS)).
		WithStartupProbe(patient(probe("/livez", "health"))).
		WithLivenessProbe(probe("/livez", "health").WithPeriodSeconds(10).WithFailureThreshold(6)).
		WithReadinessProbe(probe("/readyz", "health").WithPeriodSeconds(5).WithFailureThreshold(3))
}

// patient gives a container five minutes to start. When a node starts with all its pods, each of them is slow, and killing those that
// are would make all others slower.
func patient(probe *corev1ac.ProbeApplyConfiguration) *corev1ac.ProbeApplyConfiguration {
	return probe.WithPeriodSeconds(2).WithFailureThreshold(150)
}

func probe(path, port string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().
		WithTimeoutSeconds(5).
		WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(port)))
}

// apart prefers a node of its own for each replica.
func apart(labels map[string]string) *corev1ac.AffinityApplyConfiguration {
	return corev1ac.Affinity().WithPodAntiAffinity(corev1ac.PodAntiAffinity().
		WithPreferredDuringSchedulingIgnoredDuringExecution(corev1ac.WeightedPodAffinityTerm().
			WithWeight(100).
			WithPodAffinityTerm(corev1ac.PodAffinityTerm().
				WithTopologyKey(corev1.LabelHostname).
				WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(labels)))))
}

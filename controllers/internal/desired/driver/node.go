package driver

import (
	appsv1 "k8s.io/api/apps/v1"
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
	volumeKubelet = "kubelet"
	volumeCA      = "ca"

	loopback = "127.0.0.1"
)

// Node is the DaemonSet of the CSI node plugin. Its one container registers itself with the kubelet.
func Node(s Stack) *appsv1ac.DaemonSetApplyConfiguration {
	labels := meta.Component(names.ComponentNode)
	directory := s.Driver.Spec.KubeletDirectory
	spec := corev1ac.PodSpec().
		WithServiceAccountName(names.ComponentNode).
		WithPriorityClassName(priorityClass(s.Driver.Spec.Node.PriorityClassName, "system-node-critical")).
		WithNodeSelector(nodeSelector(s.Driver.Spec.Node.NodeSelector)).
		WithEnableServiceLinks(false).
		// Mounts belong to the network namespace that they are made in, and must outlive this pod.
		WithHostNetwork(true).
		WithDNSPolicy(corev1.DNSClusterFirstWithHostNet).
		WithTolerations(nodeTolerations(s)...).
		WithContainers(nodeContainer(s)).
		WithVolumes(
			corev1ac.Volume().WithName(volumeKubelet).WithHostPath(corev1ac.HostPathVolumeSource().
				WithPath(directory).WithType(corev1.HostPathDirectory)),
			corev1ac.Volume().WithName(volumeCA).WithConfigMap(
				corev1ac.ConfigMapVolumeSource().WithName(names.ConfigMapCA)),
		)
	return appsv1ac.DaemonSet(names.ComponentNode, s.Namespace).
		WithLabels(labels).
		WithSpec(appsv1ac.DaemonSetSpec().
			WithRevisionHistoryLimit(2).
			WithUpdateStrategy(appsv1ac.DaemonSetUpdateStrategy().
				WithType(appsv1.RollingUpdateDaemonSetStrategyType).
				WithRollingUpdate(appsv1ac.RollingUpdateDaemonSet().WithMaxUnavailable(intstr.FromString("10%")))).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(podTemplate(labels, s.NodeAccount, spec)))
}

func nodeContainer(s Stack) *corev1ac.ContainerApplyConfiguration {
	directory := s.Driver.Spec.KubeletDirectory
	return corev1ac.Container().
		WithName("csi-node").
		WithImage(s.Images.Operator).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithCommand("/nfs-operator", "csi-node").
		WithArgs(
			"--node-name=$(NODE_NAME)",
			"--namespace=$(POD_NAMESPACE)",
			"--kubelet-dir="+directory,
			"--health-address=127.0.0.1:9063",
			"--ca-file="+names.DirTLS+"/"+names.KeyCA,
			ownLogLevel(s),
		).
		WithEnv(podspec.FieldEnv("NODE_NAME", "spec.nodeName"), podspec.FieldEnv("POD_NAMESPACE", "metadata.namespace")).
		WithResources(resources(s.Driver.Spec.Node.Resources, podspec.Requests("10m", "32Mi"))).
		// Bidirectional mount propagation is granted to privileged containers only. The image's user is nobody.
		WithSecurityContext(corev1ac.SecurityContext().
			WithPrivileged(true).WithRunAsUser(0).WithReadOnlyRootFilesystem(true)).
		WithVolumeMounts(
			podspec.Mount(volumeKubelet, directory).WithMountPropagation(corev1.MountPropagationBidirectional),
			podspec.ReadOnly(volumeCA, names.DirTLS),
		).
		WithStartupProbe(patient(loopbackProbe("/livez"))).
		WithLivenessProbe(loopbackProbe("/livez").WithPeriodSeconds(15).WithFailureThreshold(4)).
		WithReadinessProbe(loopbackProbe("/readyz").WithPeriodSeconds(5).WithFailureThreshold(3))
}

// loopbackProbe asks on the node's loopback address, the only one that the plugin listens on: with hostNetwork any
// other would be open to the node's network.
func loopbackProbe(path string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().
		WithTimeoutSeconds(5).
		WithHTTPGet(corev1ac.HTTPGetAction().
			WithHost(loopback).
			WithPath(path).
			WithPort(intstr.FromInt32(names.PortNodeHealth)))
}

// nodeTolerations run the plugin on every node unless the NFSDriver says otherwise: a node without it can neither mount
// nor, what is worse, unmount.
func nodeTolerations(s Stack) []*corev1ac.TolerationApplyConfiguration {
	if tolerations := s.Driver.Spec.Node.Tolerations; tolerations != nil {
		return podspec.Tolerations(tolerations)
	}
	return []*corev1ac.TolerationApplyConfiguration{corev1ac.Toleration().WithOperator(corev1.TolerationOpExists)}
}

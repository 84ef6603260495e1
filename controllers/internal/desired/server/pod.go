package server

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/podspec"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

const (
	volumeData   = "data"
	volumeConfig = "config"
	volumeTLS    = "tls"
	volumeRun    = "run"
	volumeTmp    = "tmp"
	volumeMount  = "mount"

	dirConfig = "/etc/nfs-operator/config"

	// terminationSeconds is enough to write back the page cache of a slow disk, to stop Ganesha and to unmount.
	terminationSeconds = 90
	// networkTolerationSeconds is how long a server whose disk can follow it waits for its node to come back.
	networkTolerationSeconds = 60
)

// capabilities is all that the agent and Ganesha need; the container is not privileged.
var capabilities = []corev1.Capability{
	"CHOWN", "FOWNER", "SETUID", "SETGID", // act for the clients' users
	"DAC_OVERRIDE",
	"DAC_READ_SEARCH", // open_by_handle_at: NFS file handles
	"FSETID",          // or setgid bits of directories vanish
	"SYS_ADMIN",       // mount the disk, set quotas
	"SYS_RESOURCE",    // PR_SET_IO_FLUSHER: or a client on the server's own node can deadlock when memory is short
}

// mountedCapabilities are needed for a disk that the kubelet mounts: with a node of its device below /dev, which cannot be opened, file
// handles hold the file system's identity, not the device's number. What the agent starts has neither of the two.
var mountedCapabilities = []corev1.Capability{"MKNOD", "SETPCAP"}

func podSpec(s Shard) *corev1ac.PodSpecApplyConfiguration {
	if s.External() {
		return externalPodSpec(s)
	}
	spec := corev1ac.PodSpec().WithVolumes(corev1ac.Volume().WithName(volumeData).WithPersistentVolumeClaim(
		corev1ac.PersistentVolumeClaimVolumeSource().WithClaimName(s.ClaimName())))
	// Ganesha asks for the address of its host's name before it serves, which nobody knows: while the cluster's DNS is away, perhaps with
	// the same node as the server before, each query waits for its time-out. Nobody listens on the pod's own port 53: the answer comes at once.
	spec.WithDNSPolicy(corev1.DNSNone).WithDNSConfig(corev1ac.PodDNSConfig().WithNameservers("127.0.0.1"))
	return asAgentPod(s, spec, container(s), terminationSeconds).
		// Whatever the number of servers: it must not change with it, for a change would replace the pods that run.
		WithTopologySpreadConstraints(spread(s))
}

// asAgentPod adds what the pods of all agents have in common.
func asAgentPod(
	s Shard, spec *corev1ac.PodSpecApplyConfiguration, container *corev1ac.ContainerApplyConfiguration, seconds int64,
) *corev1ac.PodSpecApplyConfiguration {
	settings := s.settings()
	spec.
		WithServiceAccountName(names.ComponentServer).
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(seconds).
		WithSecurityContext(corev1ac.PodSecurityContext().
			WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
		WithTolerations(podspec.Tolerations(settings.Tolerations)...).
		WithContainers(container).
		WithVolumes(
			corev1ac.Volume().WithName(volumeConfig).WithConfigMap(
				corev1ac.ConfigMapVolumeSource().WithName(s.Name())),
			corev1ac.Volume().WithName(volumeTLS).WithSecret(
				corev1ac.SecretVolumeSource().WithSecretName(s.Name()).WithDefaultMode(0o400)),
			podspec.MemoryDir(volumeRun),
			podspec.EmptyDir(volumeTmp),
		)
	if !s.Mounted() {
		// Where the agent mounts the disk or share over; the root file system is read-only.
		spec.WithVolumes(podspec.EmptyDir(volumeMount))
	}
	if len(settings.NodeSelector) > 0 {
		spec.WithNodeSelector(settings.NodeSelector)
	}
	if settings.PriorityClassName != "" {
		spec.WithPriorityClassName(settings.PriorityClassName)
	}
	return spec
}

// spread keeps the servers of a backend on different nodes.
func spread(s Shard) *corev1ac.TopologySpreadConstraintApplyConfiguration {
	otherwise := corev1.ScheduleAnyway
	if s.Backend.Spec.Server.Spread == v1alpha1.SpreadRequired {
		otherwise = corev1.DoNotSchedule
	}
	return corev1ac.TopologySpreadConstraint().
		WithMaxSkew(1).
		WithTopologyKey(corev1.LabelHostname).
		WithWhenUnsatisfiable(otherwise).
		WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(meta.Backend(s.Backend.Name)))
}

func container(s Shard) *corev1ac.ContainerApplyConfiguration {
	nfs := corev1ac.Container().WithName("server").WithPorts(podspec.Port("nfs", names.PortNFS))
	if s.Mounted() {
		return asAgent(s, nfs, podspec.Requests("100m", "256Mi"), slices.Concat(capabilities, mountedCapabilities))
	}
	return asAgent(s, nfs, podspec.Requests("100m", "256Mi"), capabilities).
		WithVolumeDevices(corev1ac.VolumeDevice().WithName(volumeData).WithDevicePath(names.DataDevice))
}

// asAgent adds what the containers of all agents have in common.
func asAgent(
	s Shard, container *corev1ac.ContainerApplyConfiguration, requests *corev1ac.ResourceRequirementsApplyConfiguration,
	capabilities []corev1.Capability,
) *corev1ac.ContainerApplyConfiguration {
	if r := s.settings().Resources; r != nil {
		requests = corev1ac.ResourceRequirements().WithRequests(r.Requests).WithLimits(r.Limits)
	}
	data := volumeMount
	if s.Mounted() {
		data = volumeData
	}
	return container.
		WithImage(s.Image).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithCommand("/nfs-operator", "agent").
		// So that `kubectl describe pod` says why an agent ended.
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError).
		WithPorts(
			podspec.Port("agent", names.PortAgent),
			podspec.Port("health", names.PortAgentHealth),
		).
		WithResources(requests).
		WithSecurityContext(corev1ac.SecurityContext().
			WithRunAsUser(0).
			WithReadOnlyRootFilesystem(true).
			// The default profile of AppArmor denies mount(2).
			WithAppArmorProfile(corev1ac.AppArmorProfile().WithType(corev1.AppArmorProfileTypeUnconfined)).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL").WithAdd(capabilities...))).
		WithVolumeMounts(
			podspec.ReadOnly(volumeConfig, dirConfig),
			podspec.ReadOnly(volumeTLS, names.DirTLS),
			podspec.Mount(volumeRun, "/run"),
			podspec.Mount(volumeTmp, "/tmp"),
			podspec.Mount(data, names.DataDir),
		).
		// A large disk takes a while to format or to check; until the agent answers at all, liveness stays away.
		WithStartupProbe(healthProbe("/livez").WithPeriodSeconds(1).WithFailureThreshold(300)).
		WithLivenessProbe(healthProbe("/livez").WithPeriodSeconds(10).WithFailureThreshold(6)).
		WithReadinessProbe(healthProbe("/readyz").WithPeriodSeconds(2).WithFailureThreshold(2))
}

func healthProbe(path string) *corev1ac.ProbeApplyConfiguration {
	return corev1ac.Probe().
		WithTimeoutSeconds(5).
		WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString("health")))
}

// evictionTolerations keep a server on a node that is unwell for as long as it makes sense: without limit where the
// disk can be used on that node only, for an eviction would only kill a server that may still work.
func evictionTolerations(diskOnNetwork bool) []*corev1ac.TolerationApplyConfiguration {
	var tolerations []*corev1ac.TolerationApplyConfiguration
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		toleration := corev1ac.Toleration().
			WithKey(taint).
			WithOperator(corev1.TolerationOpExists).
			WithEffect(corev1.TaintEffectNoExecute)
		if diskOnNetwork {
			toleration.WithTolerationSeconds(networkTolerationSeconds)
		}
		tolerations = append(tolerations, toleration)
	}
	return tolerations
}

package driver

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/podspec"
)

const (
	portProvisioner = 9071
	portResizer     = 9072
	portSnapshotter = 9073

	// workers is the number of calls that a sidecar makes at a time. The agents bound what they do at once, so this
	// must only not be the limit.
	workers = 50
)

func provisioner(s Stack) *corev1ac.ContainerApplyConfiguration {
	return sidecar(s, "csi-provisioner", s.Images.Provisioner, portProvisioner).WithArgs(
		fmt.Sprintf("--worker-threads=%d", workers),
		// The claim's namespace and name, for the volume's record.
		"--extra-create-metadata",
	)
}

func resizer(s Stack) *corev1ac.ContainerApplyConfiguration {
	return sidecar(s, "csi-resizer", s.Images.Resizer, portResizer).WithArgs(
		fmt.Sprintf("--workers=%d", workers),
		// Volumes grow while they are used. Handling refusals of that would watch all pods of the cluster.
		"--handle-volume-inuse-error=false",
	)
}

func snapshotter(s Stack) *corev1ac.ContainerApplyConfiguration {
	return sidecar(s, "csi-snapshotter", s.Images.Snapshotter, portSnapshotter).WithArgs(
		fmt.Sprintf("--worker-threads=%d", workers),
		"--extra-create-metadata",
	)
}

// sidecar is what the official sidecars have in common. The health endpoint fails when a leader cannot renew its
// lease and yet does not end.
func sidecar(s Stack, name, image string, port int32) *corev1ac.ContainerApplyConfiguration {
	return corev1ac.Container().
		WithName(name).
		WithImage(image).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithArgs(
			csiAddress,
			sidecarLogLevel(s),
			"--timeout=60s",
			// A server that is back must not be waited for: the default is five minutes, which a claim that failed
			// during the outage would sleep through.
			"--retry-interval-max=1m",
			"--leader-election",
			"--leader-election-namespace="+s.Namespace,
			"--kube-api-qps=100",
			"--kube-api-burst=200",
			fmt.Sprintf("--http-endpoint=:%d", port),
		).
		WithPorts(podspec.Port(name[len("csi-"):], port)).
		WithResources(resources(s.Driver.Spec.Controller.SidecarResources, podspec.Requests("10m", "32Mi"))).
		WithSecurityContext(podspec.Unprivileged()).
		WithVolumeMounts(podspec.Mount(volumeSocket, dirSocket)).
		WithStartupProbe(patient(probe("/healthz/leader-election", name[len("csi-"):]))).
		WithLivenessProbe(probe("/healthz/leader-election", name[len("csi-"):]).WithPeriodSeconds(20).WithFailureThreshold(3))
}

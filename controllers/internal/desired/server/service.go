package server

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Service is the shard's address. Running mounts know only its ClusterIP, so a Service that was lost is made again
// with the same one. It also leads to a server that is not ready: nodes must reach the agent before NFS is served.
func Service(s Shard) *corev1ac.ServiceApplyConfiguration {
	spec := corev1ac.ServiceSpec().
		WithType(corev1.ServiceTypeClusterIP).
		WithIPFamilyPolicy(corev1.IPFamilyPolicySingleStack).
		WithPublishNotReadyAddresses(true).
		WithSelector(s.Labels())
	if !s.External() { // clients mount an external server from where it is
		spec.WithPorts(servicePort("nfs", names.PortNFS))
	}
	spec.WithPorts(servicePort("agent", names.PortAgent))
	if s.Address != "" {
		spec.WithClusterIP(s.Address)
	}
	return corev1ac.Service(s.Name(), s.Namespace).WithLabels(s.guardedLabels()).WithSpec(spec)
}

func servicePort(name string, port int32) *corev1ac.ServicePortApplyConfiguration {
	return corev1ac.ServicePort().
		WithName(name).
		WithProtocol(corev1.ProtocolTCP).
		WithPort(port).
		WithTargetPort(intstr.FromString(name))
}

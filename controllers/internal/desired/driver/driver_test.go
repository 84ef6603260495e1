package driver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/golden"
	"github.com/nfs-operator/nfs-operator/controllers/internal/images"
)

func testStack() Stack {
	return Stack{
		Driver: &v1alpha1.NFSDriver{Spec: v1alpha1.NFSDriverSpec{
			KubeletDirectory: "/var/lib/kubelet",
			Controller:       v1alpha1.DriverController{Replicas: 2},
		}},
		Namespace: "nfs-operator-system",
		Images:    images.FromEnvironment(),
	}
}

func TestGolden(t *testing.T) {
	s := testStack()
	golden.Equal(t, "csidriver", CSIDriver())
	golden.Equal(t, "controller", Controller(s))
	golden.Equal(t, "node", Node(s))
}

func TestAllDriverFieldsReachThePods(t *testing.T) {
	s := testStack()
	s.Snapshots = true
	s.Driver.Spec.KubeletDirectory = "/var/lib/k0s/kubelet"
	toleration := []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpEqual, Value: "yes", Effect: corev1.TaintEffectNoSchedule}}
	s.Driver.Spec.Controller.Tolerations, s.Driver.Spec.Node.Tolerations = toleration, toleration
	golden.Equal(t, "controller-all-fields", Controller(s))
	golden.Equal(t, "node-all-fields", Node(s))
}

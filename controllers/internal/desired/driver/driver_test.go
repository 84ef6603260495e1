package driver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

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
	s.Driver.Spec.Controller.Replicas = 3
	toleration := []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpEqual, Value: "yes", Effect: corev1.TaintEffectNoSchedule}}
	s.Driver.Spec.Controller.Tolerations, s.Driver.Spec.Node.Tolerations = toleration, toleration
	selector := map[string]v1alpha1.LabelValue{"storage": "yes"}
	s.Driver.Spec.Controller.NodeSelector, s.Driver.Spec.Node.NodeSelector = selector, selector
	s.Driver.Spec.Controller.PriorityClassName, s.Driver.Spec.Node.PriorityClassName = "important", "very-important"
	s.Driver.Spec.LogLevel = v1alpha1.LogTrace
	limits := func(memory string) *v1alpha1.ContainerResources {
		return &v1alpha1.ContainerResources{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)},
		}
	}
	s.Driver.Spec.Controller.Resources, s.Driver.Spec.Controller.SidecarResources = limits("100Mi"), limits("200Mi")
	s.Driver.Spec.Node.Resources = limits("300Mi")
	s.Driver.Spec.Images = v1alpha1.DriverImages{
		Operator: "example.org/operator:1", Provisioner: "example.org/provisioner:2",
		Resizer: "example.org/resizer:3", Snapshotter: "example.org/snapshotter:4",
	}
	s.Images = s.Images.With(s.Driver.Spec.Images)
	golden.AllSet(t, s.Driver.Spec)
	golden.Equal(t, "controller-all-fields", Controller(s))
	golden.Equal(t, "node-all-fields", Node(s))
}

//go:build envtest

package nfsdriver

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func (w *world) deployment() *appsv1.Deployment {
	w.t.Helper()
	deployment := &appsv1.Deployment{}
	w.Expect(w.c.Get(w.t.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: names.ComponentController}, deployment)).To(Succeed())
	return deployment
}

func (w *world) daemonSet() *appsv1.DaemonSet {
	w.t.Helper()
	set := &appsv1.DaemonSet{}
	w.Expect(w.c.Get(w.t.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: names.ComponentNode}, set)).To(Succeed())
	return set
}

func (w *world) update(change func(*v1alpha1.NFSDriver)) {
	w.t.Helper()
	driver := w.driver()
	change(driver)
	w.Expect(w.c.Update(w.t.Context(), driver)).To(Succeed())
	w.settle()
}

// TestUpgrade: the controller first, the nodes when it runs; the status says from which version to which.
func TestUpgrade(t *testing.T) {
	w := newWorld(t)
	w.backend()
	w.settle()
	w.rollOut()
	w.settle()
	driver := w.driver()
	driver.Status.Version = "0.1.0"
	w.Expect(w.c.Status().Update(t.Context(), driver)).To(Succeed())
	w.r.Images.Operator = "example.org/nfs-operator:new"
	w.settle()
	w.Expect(w.deployment().Spec.Template.Spec.Containers[0].Image).To(Equal("example.org/nfs-operator:new"))
	w.Expect(w.daemonSet().Spec.Template.Spec.Containers[0].Image).NotTo(Equal("example.org/nfs-operator:new"))
	w.Expect(w.ready().Message).To(Equal("upgrading from version 0.1.0 to dev: the CSI controller is not available yet"))
	w.Expect(w.driver().Status.Version).To(Equal("0.1.0"))
	w.Expect(w.kstatus()).To(Equal(status.InProgressStatus))

	w.rollOut()
	w.settle()
	w.Expect(w.daemonSet().Spec.Template.Spec.Containers[0].Image).To(Equal("example.org/nfs-operator:new"))
	w.Expect(w.ready().Message).To(Equal("upgrading from version 0.1.0 to dev: the CSI node plugin is ready on 3/3 nodes"))
	w.rollOut()
	w.settle()
	w.Expect(w.driver().Status.Version).To(Equal("dev"))
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
}

func TestChangedSettingsRollOut(t *testing.T) {
	w := newWorld(t)
	w.backend()
	w.settle()
	w.rollOut()
	w.settle()
	w.update(func(d *v1alpha1.NFSDriver) {
		d.Spec.Images.Provisioner = "example.org/provisioner:1"
		d.Spec.KubeletDirectory = "/var/lib/k0s/kubelet"
		d.Spec.Node.PriorityClassName = "mine"
		d.Spec.Node.NodeSelector = map[string]v1alpha1.LabelValue{"nfs": "yes"}
		d.Spec.LogLevel = v1alpha1.LogDebug
	})
	w.Expect(w.kstatus()).To(Equal(status.InProgressStatus))
	w.Expect(w.ready().Reason).To(Equal(reasonRollingOut))
	w.Expect(w.ready().Message).To(HavePrefix("rolling out version dev"))
	w.Expect(w.deployment().Spec.Template.Spec.Containers[1].Image).To(Equal("example.org/provisioner:1"))
	pod := w.daemonSet().Spec.Template.Spec
	w.Expect(pod.PriorityClassName).To(Equal("mine"))
	w.Expect(pod.NodeSelector).To(Equal(map[string]string{"nfs": "yes"}))
	w.Expect(pod.Containers[0].Args).To(ContainElements("--kubelet-dir=/var/lib/k0s/kubelet", "--log-level=1"))
	w.rollOut()
	w.settle()
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))

	w.update(func(d *v1alpha1.NFSDriver) { d.Spec = v1alpha1.NFSDriverSpec{} })
	w.Expect(w.daemonSet().Spec.Template.Spec.NodeSelector).To(BeEmpty())
	w.Expect(w.daemonSet().Spec.Template.Spec.PriorityClassName).To(Equal("system-node-critical"))
}

func TestSnapshotterComesWithTheCRDs(t *testing.T) {
	w := newWorld(t)
	w.backend()
	w.settle()
	w.Expect(w.driver().Status.Snapshots).To(Equal(v1alpha1.SnapshotsNotInstalled))
	testenv.InstallSnapshotCRDs(t)
	w.settle()
	w.Expect(w.deployment().Spec.Template.Spec.Containers).To(HaveLen(4))
	w.Expect(w.driver().Status.Snapshots).To(Equal(v1alpha1.SnapshotsSupported))
}

// TestForeignCSIDriver: one with other immutable fields is made again while there is no volume, and only then.
func TestForeignCSIDriver(t *testing.T) {
	w := newWorld(t)
	foreign := &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: names.Driver}, Spec: storagev1.CSIDriverSpec{AttachRequired: new(true)},
	}
	w.Expect(w.c.Create(t.Context(), foreign)).To(Succeed())
	w.backend()
	volume := w.volume()
	w.settle()
	w.Expect(w.ready().Reason).To(Equal("CSIDriverNotOurs"))
	w.Expect(w.ready().Message).To(ContainSubstring("PersistentVolume pvc-1 exists"))
	w.Expect(w.kstatus()).To(Equal(status.FailedStatus))
	live := &storagev1.CSIDriver{}
	w.Expect(w.c.Get(t.Context(), client.ObjectKey{Name: names.Driver}, live)).To(Succeed())
	w.Expect(live.UID).To(Equal(foreign.UID))

	volume.Finalizers = nil
	w.Expect(w.c.Update(t.Context(), volume)).To(Succeed())
	w.Expect(w.c.Delete(t.Context(), volume)).To(Succeed())
	w.settle()
	w.Expect(w.c.Get(t.Context(), client.ObjectKey{Name: names.Driver}, live)).To(Succeed())
	w.Expect(live.UID).NotTo(Equal(foreign.UID))
	w.Expect(w.events()).To(ContainElements(HavePrefix("Warning CSIDriverNotOurs "), HavePrefix("Normal CSIDriverRecreated Made CSIDriver csi.nfs-operator.io again")))
	w.Expect(*live.Spec.AttachRequired).To(BeFalse())
	w.rollOut()
	w.settle()
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
}

package nfsdriver

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/driver"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/snapshots"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// pageSize bounds the memory of a look through all PersistentVolumes of the cluster.
const pageSize = 500

func (r *Reconciler) observe(ctx context.Context, s *scope) error {
	controller, node := &appsv1.Deployment{}, &appsv1.DaemonSet{}
	found, err := r.find(ctx, client.ObjectKey{Namespace: r.Namespace, Name: names.ComponentController}, controller)
	if err != nil {
		return err
	}
	if found {
		s.controller = controller
	}
	found, err = r.find(ctx, client.ObjectKey{Namespace: r.Namespace, Name: names.ComponentNode}, node)
	if err != nil {
		return err
	}
	if found {
		s.node = node
	}
	csiDriver := &storagev1.CSIDriver{}
	found, err = r.find(ctx, client.ObjectKey{Name: names.Driver}, csiDriver)
	if found {
		s.csiDriver = csiDriver
	}
	return err
}

func (r *Reconciler) find(ctx context.Context, key client.ObjectKey, obj client.Object) (bool, error) {
	err := r.Client.Get(ctx, key, obj)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get %T %s: %w", obj, key.Name, err)
	}
	return err == nil, nil
}

// decide says why the stack must exist. A node without its plugin cannot unmount, and without a CSIDriver the kubelet
// waits for attachments that never come; so the stack stays for as long as the last trace of a volume. What is still
// staged on a node needs no look of its own: an NFSBackend does not go while a node announces one of its volumes.
func (r *Reconciler) decide(ctx context.Context, s *scope) error {
	backends := &v1alpha1.NFSBackendList{}
	if err := r.Client.List(ctx, backends); err != nil {
		return fmt.Errorf("list NFSBackends: %w", err)
	}
	if n := len(backends.Items); n > 0 {
		s.needed = fmt.Sprintf("NFSBackend %s exists", backends.Items[0].Name)
		return nil
	}
	if s.controller == nil && s.node == nil && s.csiDriver == nil && !controllerutil.ContainsFinalizer(s.driver, names.Finalizer) {
		return nil // nothing to remove, so no need to look further
	}
	volume, err := r.anyVolume(ctx)
	if err != nil {
		return err
	}
	if volume != "" {
		s.needed = fmt.Sprintf("PersistentVolume %s exists", volume)
		return nil
	}
	content, err := r.anySnapshot(ctx)
	if content != "" {
		s.needed = fmt.Sprintf("VolumeSnapshotContent %s exists", content)
	}
	return err
}

// anyVolume is the name of a PersistentVolume of the driver, or empty.
func (r *Reconciler) anyVolume(ctx context.Context) (string, error) {
	list := &corev1.PersistentVolumeList{}
	for {
		if err := r.Uncached.List(ctx, list, client.Limit(pageSize), client.Continue(list.Continue)); err != nil {
			return "", fmt.Errorf("list PersistentVolumes: %w", err)
		}
		for i := range list.Items {
			if csi := list.Items[i].Spec.CSI; csi != nil && csi.Driver == names.Driver {
				return list.Items[i].Name, nil
			}
		}
		if list.Continue == "" {
			return "", nil
		}
	}
}

// anySnapshot is the name of a VolumeSnapshotContent of the driver, or empty.
func (r *Reconciler) anySnapshot(ctx context.Context) (string, error) {
	return snapshots.AnyContent(ctx, r.Client, r.Uncached, names.Driver, func(unstructured.Unstructured) bool { return true })
}

func (r *Reconciler) applyStack(ctx context.Context, s *scope) (err error) {
	if err := r.ensureFinalizer(ctx, s); err != nil {
		return err
	}
	if s.snapshots, err = snapshots.Installed(ctx, r.Client); err != nil {
		return err
	}
	stack := driver.Stack{
		Driver: s.driver, Namespace: r.Namespace, Images: r.Images.With(s.driver.Spec.Images), Snapshots: s.snapshots,
	}
	if err := r.applyCSIDriver(ctx, s); err != nil || s.conflict != "" {
		return err
	}
	if err := r.findAccounts(ctx, s, &stack); err != nil {
		return err
	}
	wroteController, errController := apply.Object(ctx, r.Client, &appsv1.Deployment{}, driver.Controller(stack), appsv1ac.ExtractDeployment)
	if wroteController {
		s.controller = nil // what was read is no longer true; the watch brings us back
	}
	if upgrading(s) && s.node != nil && (errController != nil || !controllerReady(s)) {
		s.node = nil
		return errController // one after the other: a version whose controller does not start is kept off the nodes
	}
	wroteNode, errNode := apply.Object(ctx, r.Client, &appsv1.DaemonSet{}, driver.Node(stack), appsv1ac.ExtractDaemonSet)
	if wroteNode {
		s.node = nil
	}
	return errors.Join(errController, errNode)
}

// findAccounts has pods replaced whose ServiceAccount was deleted and made anew, as when the operator is uninstalled under its volumes
// and installed again: their tokens are refused. While there is no account, no pod could start, and those that run stay.
func (r *Reconciler) findAccounts(ctx context.Context, s *scope, stack *driver.Stack) error {
	if s.controller != nil {
		stack.ControllerAccount = s.controller.Spec.Template.Annotations[meta.AnnotationAccount]
	}
	if s.node != nil {
		stack.NodeAccount = s.node.Spec.Template.Annotations[meta.AnnotationAccount]
	}
	for name, uid := range map[string]*string{names.ComponentController: &stack.ControllerAccount, names.ComponentNode: &stack.NodeAccount} {
		account := &metav1.PartialObjectMetadata{}
		account.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
		err := r.Uncached.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, account)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get ServiceAccount %s: %w", name, err)
		}
		if err == nil {
			*uid = string(account.UID)
		}
	}
	return nil
}

// ensureFinalizer holds the NFSDriver while there is a stack to be removed in order.
func (r *Reconciler) ensureFinalizer(ctx context.Context, s *scope) error {
	if !s.driver.DeletionTimestamp.IsZero() || controllerutil.ContainsFinalizer(s.driver, names.Finalizer) {
		return nil
	}
	return r.patchFinalizers(ctx, s, controllerutil.AddFinalizer)
}

func (r *Reconciler) removeStack(ctx context.Context, s *scope) error {
	var errs []error
	if s.controller != nil {
		errs = append(errs, apply.Delete(ctx, r.Client, s.controller))
	}
	if s.node != nil {
		errs = append(errs, apply.Delete(ctx, r.Client, s.node))
	}
	if s.csiDriver != nil {
		errs = append(errs, apply.Delete(ctx, r.Client, s.csiDriver))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.controller, s.node, s.csiDriver = nil, nil, nil
	if !controllerutil.ContainsFinalizer(s.driver, names.Finalizer) {
		return nil
	}
	s.gone = !s.driver.DeletionTimestamp.IsZero()
	return r.patchFinalizers(ctx, s, controllerutil.RemoveFinalizer)
}

func (r *Reconciler) patchFinalizers(ctx context.Context, s *scope, change func(client.Object, string) bool) error {
	before := s.driver.DeepCopy()
	change(s.driver, names.Finalizer)
	err := r.Client.Patch(ctx, s.driver, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		return fmt.Errorf("patch finalizers: %w", err)
	}
	s.before = s.driver.DeepCopy()
	return nil
}

package sweep

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// claimPrefix is how csi-provisioner begins the CSI name of a volume; the claim's UID follows.
const claimPrefix = "pvc-"

// Objects reads the cluster's objects from the API server itself: it is asked seldom, and for all PersistentVolumes.
type Objects struct {
	client client.Client
	host   string
	log    logr.Logger
	now    func() time.Time
}

// NewObjects makes Objects. host names this process in events.
func NewObjects(c client.Client, host string, log logr.Logger) *Objects {
	return &Objects{client: c, host: host, log: log, now: time.Now}
}

// PersistentVolumes implements Cluster.
func (o *Objects) PersistentVolumes(ctx context.Context) (PersistentVolumes, error) {
	all := PersistentVolumes{Handles: map[string]bool{}, Named: map[string]string{}}
	for next := ""; ; {
		var page corev1.PersistentVolumeList
		if err := o.client.List(ctx, &page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return all, fmt.Errorf("list PersistentVolumes: %w", err)
		}
		for i := range page.Items {
			if source := page.Items[i].Spec.CSI; source != nil && source.Driver == names.Driver {
				all.Handles[source.VolumeHandle] = true
				all.Named[page.Items[i].Name] = source.VolumeHandle
			}
		}
		if next = page.Continue; next == "" {
			return all, nil
		}
	}
}

// ClaimExists implements Cluster. A claim that was made anew under the name is another one, as far as the volume's name tells.
func (o *Objects) ClaimExists(ctx context.Context, namespace, name, volume string) (bool, error) {
	claim := &metav1.PartialObjectMetadata{}
	claim.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PersistentVolumeClaim"))
	err := o.client.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, claim)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("get PersistentVolumeClaim %s/%s: %w", namespace, name, err)
	}
	uid, ok := strings.CutPrefix(volume, claimPrefix)
	return !ok || types.UID(uid) == claim.UID, nil
}

// Event implements Cluster.
func (o *Objects) Event(ctx context.Context, backend, reason, message string) {
	const longest = 1024
	about := &v1alpha1.NFSBackend{}
	if err := o.client.Get(ctx, types.NamespacedName{Name: backend}, about); err != nil {
		o.log.Error(err, "Cannot write an event", "backend", backend, "reason", reason, "message", message)
		return
	}
	now := metav1.NewTime(o.now())
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: backend + "-", Namespace: metav1.NamespaceDefault},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "NFSBackend", Name: backend, UID: about.UID, ResourceVersion: about.ResourceVersion,
		},
		Reason: reason, Message: message[:min(len(message), longest)], Type: corev1.EventTypeNormal,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		Source:              corev1.EventSource{Component: names.Driver, Host: o.host},
		ReportingController: names.Driver, ReportingInstance: o.host,
	}
	if err := o.client.Create(ctx, event); err != nil {
		o.log.Error(err, "Cannot write an event", "backend", backend, "reason", reason, "message", message)
	}
}

// Metrics count what was found.
type Metrics struct {
	// Swept counts the volumes that were deleted because nobody knew of them.
	Swept *prometheus.CounterVec
	// Unclaimed is how many volumes in service had no PersistentVolume at the last look.
	Unclaimed *prometheus.GaugeVec
}

// NewMetrics makes and registers Metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		Swept: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nfs_operator_orphaned_volumes_deleted_total",
			Help: "Volumes deleted because they had neither PersistentVolume nor claim and were never used.",
		}, []string{"backend"}),
		Unclaimed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "nfs_operator_volumes_without_persistent_volume",
			Help: "Volumes in service that no PersistentVolume names; they are never deleted by themselves.",
		}, []string{"backend"}),
	}
	registry.MustRegister(m.Swept, m.Unclaimed)
	return m
}

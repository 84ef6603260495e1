package controllers

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/snapshots"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Scheme knows Kubernetes' kinds and ours.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// CacheOptions hold only what is ours, whatever the size of the cluster. Managed fields are kept: they tell what we have
// applied (package apply).
func CacheOptions(namespace string) cache.Options {
	ours := labels.SelectorFromSet(labels.Set{names.LabelManagedBy: names.FieldOwner})
	operand := cache.ByObject{Namespaces: map[string]cache.Config{namespace: {LabelSelector: ours}}}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&appsv1.StatefulSet{}:                           operand,
		&appsv1.Deployment{}:                            operand,
		&appsv1.DaemonSet{}:                             operand,
		&corev1.Pod{}:                                   operand,
		&corev1.Service{}:                               operand,
		&corev1.ConfigMap{}:                             operand,
		&corev1.Secret{}:                                operand,
		&corev1.PersistentVolumeClaim{}:                 operand,
		&policyv1.PodDisruptionBudget{}:                 operand,
		&admissionv1.ValidatingAdmissionPolicy{}:        {Label: ours},
		&admissionv1.ValidatingAdmissionPolicyBinding{}: {Label: ours},
		// The one definition that tells whether there are volume snapshots; not the schemas of the whole cluster.
		snapshots.CRD():            {Field: fields.OneTermEqualSelector("metadata.name", snapshots.CRDName)},
		&corev1.PersistentVolume{}: {Label: exists(names.LabelBackend)},
		&certificatesv1.CertificateSigningRequest{}: {
			Field: fields.OneTermEqualSelector("spec.signerName", names.SignerNode),
		},
	}}
}

// LimitRequests sets how often a second the manager may ask the API server for objects of one kind: enough for a start with a thousand
// custom resources in a minute, and little enough to leave the API server to others. (Without it there is no limit.)
func LimitRequests(config *rest.Config) { config.QPS, config.Burst = 50, 100 }

// ClientOptions make the classes of snapshots, whose kind has no Go type here, come from the cache as all others do.
func ClientOptions() client.Options {
	return client.Options{Cache: &client.CacheOptions{Unstructured: true}}
}

func exists(label string) labels.Selector {
	requirement, err := labels.NewRequirement(label, selection.Exists, nil)
	utilruntime.Must(err)
	return labels.NewSelector().Add(*requirement)
}

//go:build envtest

package controllers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

const patience = time.Minute

// expectSnapshots: the class of snapshots comes when the CRDs do, long after the manager's start, and comes back.
func expectSnapshots(t *testing.T, c client.Client, profile *v1alpha1.StorageProfile) {
	t.Helper()
	g := NewWithT(t)
	testenv.InstallSnapshotCRDs(t)
	class := &unstructured.Unstructured{}
	class.SetAPIVersion("snapshot.storage.k8s.io/v1")
	class.SetKind("VolumeSnapshotClass")
	fresh := testenv.Client(t)
	g.Eventually(func() error { return fresh.Get(t.Context(), client.ObjectKeyFromObject(profile), class) }).
		WithTimeout(patience).Should(Succeed())
	uid := class.GetUID()
	g.Expect(fresh.Delete(t.Context(), class)).To(Succeed())
	g.Eventually(func() bool {
		return fresh.Get(t.Context(), client.ObjectKeyFromObject(profile), class) == nil && class.GetUID() != uid
	}).WithTimeout(patience).Should(BeTrue(), "it comes back")
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(profile), profile)).To(Succeed())
	profile.Spec.Snapshots.Class = v1alpha1.SnapshotClassNone
	g.Expect(c.Update(t.Context(), profile)).To(Succeed())
	g.Eventually(func() bool {
		return apierrors.IsNotFound(fresh.Get(t.Context(), client.ObjectKeyFromObject(profile), class))
	}).WithTimeout(patience).Should(BeTrue())
}

// expectRecreation: the class is made again, and the policy goes with the last restriction.
func expectRecreation(t *testing.T, c client.Client, profile *v1alpha1.StorageProfile) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(profile), profile)).To(Succeed())
	profile.Spec.ReclaimPolicy, profile.Spec.MaxVolumeSize = corev1.PersistentVolumeReclaimRetain, nil
	g.Expect(c.Update(t.Context(), profile)).To(Succeed())
	g.Eventually(func(g Gomega) {
		class := &storagev1.StorageClass{}
		g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(profile), class)).To(Succeed())
		g.Expect(*class.ReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))
	}).WithTimeout(patience).Should(Succeed())
}

// askForCertificate as somebody who is not a node plugin: the signer denies it.
func askForCertificate(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	g.Expect(err).NotTo(HaveOccurred())
	csr := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "stranger"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: names.SignerNode,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}
	c := testenv.Client(t)
	g.Expect(c.Create(t.Context(), csr)).To(Succeed())
	g.Eventually(func() []certificatesv1.CertificateSigningRequestCondition {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(csr), csr); err != nil {
			return nil
		}
		return csr.Status.Conditions
	}).WithTimeout(patience).ShouldNot(BeEmpty())
}

// usedElsewhere are rights that this story does not come to use, and who does.
var usedElsewhere = map[testenv.Right]string{
	"approve certificates.k8s.io/signers":                          "asked by the API server's own admission when the signer approves: pki TestSigner",
	"sign certificates.k8s.io/signers":                             "asked by the API server's own admission when the signer signs: pki TestSigner",
	"update certificates.k8s.io/certificatesigningrequests/status": "the certificate of a true node plugin: pki TestSigner",
	"create authentication.k8s.io/tokenreviews":                    "a client of the metrics: metricsauth",
	"create authorization.k8s.io/subjectaccessreviews":             "a client of the metrics: metricsauth",
	"update storage.nfs-operator.io/storageprofiles/finalizers":    "owner references on OpenShift, whose admission asks for it",
	"patch events.k8s.io/events":                                   "an event that is repeated",
	"patch /events":                                                "leader election's event, repeated",
	"patch /persistentvolumes":                                     "a disk that is bound: nfsbackend stories",
	"get /nodes":                                                   "the node of a server or a grant: nfsbackend stories",
	"get /namespaces":                                              "marking the namespace as in use: deleteguard",
	"patch /namespaces":                                            "marking the namespace as in use: deleteguard",
	"patch apiextensions.k8s.io/customresourcedefinitions":         "marking our definitions as in use: deleteguard",
	"create /persistentvolumes":                                    "a disk of hosts: nfsbackend stories",
	"delete /pods":                                                 "a server that is replaced: nfsbackend stories",
	"delete /persistentvolumeclaims":                               "deletionPolicy Delete: nfsbackend deletion",
	"delete policy/poddisruptionbudgets":                           "more than one shard: nfsbackend stories",
	"patch coordination.k8s.io/leases":                             "asked for by older leader election",
}

// expectRights: all that was asked for was granted, and what is granted was asked for. Who may watch may as well list and
// get: it is the same data, and an informer falls back to a list.
func expectRights(t *testing.T, requests *testenv.Requests) {
	t.Helper()
	if denied := requests.Denied(); len(denied) > 0 {
		t.Errorf("used and not granted: %v", denied)
	}
	var rules []rbacv1.PolicyRule
	for _, file := range []string{"role.yaml", "manager.yaml"} {
		for _, obj := range testenv.ReadObjects(t, "config", "rbac", file) {
			role := &rbacv1.ClusterRole{}
			if !strings.HasSuffix(obj.GetKind(), "Role") {
				continue
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, role); err != nil {
				t.Fatal(err)
			}
			rules = append(rules, role.Rules...)
		}
	}
	granted, used := testenv.Granted(rules), requests.Used()
	var idle []string
	for right := range granted {
		_, excused := usedElsewhere[right]
		verb, resource, _ := strings.Cut(string(right), " ")
		implied := (verb == "get" || verb == "list") && (used[testenv.Right("list "+resource)] || used[testenv.Right("watch "+resource)])
		if !used[right] && !excused && !implied {
			idle = append(idle, string(right))
		}
	}
	slices.Sort(idle)
	if len(idle) > 0 {
		t.Errorf("granted and not used:\n%s", strings.Join(idle, "\n"))
	}
	for right := range usedElsewhere {
		if !granted[right] {
			t.Errorf("%s is no longer granted: take it off the list", right)
		}
	}
}

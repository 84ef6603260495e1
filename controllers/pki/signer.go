package pki

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/nfs-operator/nfs-operator/controllers/internal/authority"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

const (
	reasonNodeProven   = "NodeProven"
	reasonNotQualified = "NotQualified"
)

// Signer approves and signs the requests of node plugins for our signer. It denies all others for that signer.
type Signer struct {
	Client    client.Client
	Claim     install.Claim
	Namespace string
}

// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests,verbs=get;list;watch
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=certificatesigningrequests/status;certificatesigningrequests/approval,verbs=update
// +kubebuilder:rbac:groups=certificates.k8s.io,resources=signers,resourceNames=storage.nfs-operator.io/csi-node,verbs=approve;sign

// Reconcile answers one request.
func (r *Signer) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if state, err := r.Claim.State(ctx); err != nil || state != install.Ours {
		return ctrl.Result{RequeueAfter: install.Interval}, err
	}
	csr := &certificatesv1.CertificateSigningRequest{}
	if err := r.Client.Get(ctx, req.NamespacedName, csr); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if csr.Spec.SignerName != names.SignerNode || answered(csr) {
		return ctrl.Result{}, nil
	}
	node, key, err := qualify(csr, r.Namespace)
	if err != nil {
		log.FromContext(ctx).Info("Refusing a certificate", "request", csr.Name, "user", csr.Spec.Username, "reason", err.Error())
		return ctrl.Result{}, r.refuse(ctx, csr, err)
	}
	return r.sign(ctx, csr, node, key)
}

// answered is true when there is nothing to do any more.
func answered(csr *certificatesv1.CertificateSigningRequest) bool {
	return len(csr.Status.Certificate) > 0 ||
		has(csr, certificatesv1.CertificateDenied) || has(csr, certificatesv1.CertificateFailed)
}

func has(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType) bool {
	for _, condition := range csr.Status.Conditions {
		if condition.Type == kind {
			return true
		}
	}
	return false
}

// sign approves, and issues a certificate. Of the request itself only the public key reaches it.
func (r *Signer) sign(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, node string, key crypto.PublicKey) (ctrl.Result, error) {
	ca, err := authority.Load(ctx, r.Client, r.Namespace)
	if errors.Is(err, authority.ErrNotYet) {
		return ctrl.Result{RequeueAfter: install.Interval}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if !has(csr, certificatesv1.CertificateApproved) {
		addCondition(csr, certificatesv1.CertificateApproved, reasonNodeProven, "the request was made by the node plugin on node "+node)
		if err := r.Client.SubResource("approval").Update(ctx, csr); err != nil {
			return ctrl.Result{}, fmt.Errorf("approve %s: %w", csr.Name, err)
		}
	}
	cert, err := ca.Sign(time.Now(), key, pki.Identity{Role: pki.RoleNode, Name: node}, pki.NodeLifetime)
	if err != nil {
		return ctrl.Result{}, err
	}
	csr.Status.Certificate = cert
	if err := r.Client.Status().Update(ctx, csr); err != nil {
		return ctrl.Result{}, fmt.Errorf("put certificate into %s: %w", csr.Name, err)
	}
	return ctrl.Result{}, nil
}

// refuse denies a request; one that somebody has approved already can only be failed.
func (r *Signer) refuse(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, why error) error {
	if has(csr, certificatesv1.CertificateApproved) {
		addCondition(csr, certificatesv1.CertificateFailed, reasonNotQualified, why.Error())
		return r.Client.Status().Update(ctx, csr)
	}
	addCondition(csr, certificatesv1.CertificateDenied, reasonNotQualified, why.Error())
	return r.Client.SubResource("approval").Update(ctx, csr)
}

func addCondition(csr *certificatesv1.CertificateSigningRequest, kind certificatesv1.RequestConditionType, reason, message string) {
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message,
	})
}

// SetupWithManager watches the requests; the manager's cache holds those for our signer only.
func (r *Signer) SetupWithManager(mgr ctrl.Manager) error {
	open := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		csr, ok := obj.(*certificatesv1.CertificateSigningRequest)
		return ok && !answered(csr)
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("signer").
		For(&certificatesv1.CertificateSigningRequest{}).
		WithEventFilter(open).
		Complete(r)
}

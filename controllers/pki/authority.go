// Package pki keeps the certificate authority of the installation, and signs the certificates of node plugins.
package pki

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/authority"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/tls"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// renewalInterval is how often certificates are looked at; they are renewed a month before they end.
const renewalInterval = 12 * time.Hour

// Authority keeps the authority's Secret, the bundle that all parts trust, and the CSI controller's certificate.
type Authority struct {
	Client client.Client
	// Uncached decides whether the authority exists: a cache that is behind, or filtered, must not make a second one,
	// for all certificates of the first would be worth nothing.
	Uncached  client.Reader
	Claim     install.Claim
	Namespace string
}

// +kubebuilder:rbac:groups="",resources=secrets;configmaps,verbs=get;list;watch;create;patch,namespace=nfs-operator-system

// Reconcile looks after all three objects; the request says nothing.
func (r *Authority) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	if state, err := r.Claim.State(ctx); err != nil || state != install.Ours {
		return ctrl.Result{RequeueAfter: install.Interval}, err
	}
	ca, again, err := r.ensure(ctx)
	if err != nil {
		return ctrl.Result{}, err
	}
	_, err = apply.Object(ctx, r.Client, &corev1.ConfigMap{}, tls.Bundle(r.Namespace, ca.Bundle()), corev1ac.ExtractConfigMap)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: again}, r.applyController(ctx, ca)
}

// ensure makes the authority once, and never writes over one that is there, but for rotating it. It returns when to look again.
func (r *Authority) ensure(ctx context.Context) (*pki.Authority, time.Duration, error) {
	secret := &corev1.Secret{}
	err := r.Uncached.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: names.SecretCA}, secret)
	if apierrors.IsNotFound(err) {
		ca, err := r.create(ctx)
		return ca, renewalInterval, err
	}
	if err != nil {
		return nil, 0, fmt.Errorf("get Secret %s: %w", names.SecretCA, err)
	}
	if _, err := authority.Of(secret); err != nil {
		return nil, 0, err
	}
	if err := r.rotate(ctx, secret, time.Now()); err != nil {
		return nil, 0, err
	}
	again := renewalInterval
	if len(authority.NextOf(secret).Cert) > 0 {
		again = rotationInterval
	}
	ca, err := authority.Of(secret)
	return ca, again, err
}

func (r *Authority) create(ctx context.Context) (*pki.Authority, error) {
	pair, err := pki.NewAuthority(time.Now())
	if err != nil {
		return nil, err
	}
	ca, err := pki.LoadAuthority(pair)
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: names.SecretCA, Namespace: r.Namespace,
			Labels: map[string]string{names.LabelManagedBy: names.FieldOwner},
		},
		Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{names.KeyCert: pair.Cert, names.KeyKey: pair.Key},
	}
	if err := r.Client.Create(ctx, secret); err != nil {
		return nil, fmt.Errorf("make Secret %s: %w", names.SecretCA, err)
	}
	return ca, nil
}

func (r *Authority) applyController(ctx context.Context, ca *pki.Authority) error {
	live := &corev1.Secret{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: names.SecretController}, live)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get Secret %s: %w", names.SecretController, err)
	}
	pair := authority.PairOf(live)
	id := pki.Identity{Role: pki.RoleController, Name: names.ComponentController}
	if now := time.Now(); ca.NeedsRenewal(now, pair.Cert, id) {
		if pair, err = ca.Issue(now, id, pki.LeafLifetime); err != nil {
			return err
		}
	}
	secret := tls.Secret(names.SecretController, r.Namespace, meta.Component(names.ComponentController), pair, ca.Bundle())
	_, err = apply.Object(ctx, r.Client, &corev1.Secret{}, secret, corev1ac.ExtractSecret)
	return err
}

// SetupWithManager watches the three objects, and makes a first pass at start.
func (r *Authority) SetupWithManager(mgr ctrl.Manager) error {
	request := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: r.Namespace, Name: names.SecretCA}}
	atStart := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(request)
		return nil
	})
	watched := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		switch obj.GetName() {
		case names.SecretCA, names.SecretController: // the ConfigMap has the Secret's name
			return []reconcile.Request{request}
		}
		return nil
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("authority").
		WatchesRawSource(atStart).
		Watches(&corev1.Secret{}, watched).
		Watches(&corev1.ConfigMap{}, watched).
		Complete(r)
}

package pki

import (
	"bytes"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/authority"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

const (
	// AnnotationRotate on the authority's Secret has it replaced now, and not only when two thirds of its life are over.
	AnnotationRotate = "storage.nfs-operator.io/rotate"
	// distribution is how long a new authority is trusted before it signs. A mounted Secret or ConfigMap reaches its pod
	// within some minutes; a node that was away for all this time reads the bundle when it starts.
	distribution = time.Hour
	// rotationInterval is how often a rotation that is going on is looked at.
	rotationInterval = 10 * time.Minute
	// backdate is how far before its making a certificate begins to be valid (package internal/pki).
	backdate = time.Hour
)

// rotate takes the next step of a rotation, if it is time for one: the new authority is made, and trusted beside the old
// one; an hour later it signs, and all leaves that are not its own are issued anew; the old one stays in the bundle until
// the last leaf that it has signed has ended. So at no time is there a peer that does not trust another.
func (r *Authority) rotate(ctx context.Context, secret *corev1.Secret, now time.Time) error {
	before := secret.DeepCopy()
	if err := rotateSecret(secret, now); err != nil {
		return err
	}
	if equality.Semantic.DeepEqual(before, secret) {
		return nil
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, secret, patch); err != nil {
		return fmt.Errorf("rotate authority in Secret %s: %w", secret.Name, err)
	}
	return nil
}

func rotateSecret(secret *corev1.Secret, now time.Time) error {
	current, err := pki.ParseCertificate(secret.Data[names.KeyCert])
	if err != nil {
		return fmt.Errorf("parse authority: %w", err)
	}
	if next := authority.NextOf(secret); len(next.Cert) > 0 {
		return promote(secret, next, now)
	}
	// Leaves of the predecessor were signed until this authority took over.
	if now.After(current.NotBefore.Add(backdate + distribution + pki.LeafLifetime)) {
		delete(secret.Data, authority.KeyPreviousCert)
	}
	_, asked := secret.Annotations[AnnotationRotate]
	if !asked && now.Before(pki.RenewalTime(current)) {
		return nil
	}
	if len(secret.Data[authority.KeyPreviousCert]) > 0 {
		return nil // one at a time: certificates of the one before the last are still about
	}
	next, err := pki.NewAuthority(now)
	if err != nil {
		return err
	}
	secret.Data[authority.KeyNextCert], secret.Data[authority.KeyNextKey] = next.Cert, next.Key
	delete(secret.Annotations, AnnotationRotate)
	return nil
}

// promote has the new authority sign, when everybody has had the time to learn of it.
func promote(secret *corev1.Secret, next pki.Pair, now time.Time) error {
	if _, err := pki.LoadAuthority(next); err != nil {
		return fmt.Errorf("load the next authority: %w", err)
	}
	cert, err := pki.ParseCertificate(next.Cert)
	if err != nil {
		return err
	}
	if now.Before(cert.NotBefore.Add(backdate + distribution)) {
		return nil
	}
	secret.Data[authority.KeyPreviousCert] = bytes.Clone(secret.Data[names.KeyCert])
	secret.Data[names.KeyCert], secret.Data[names.KeyKey] = next.Cert, next.Key
	delete(secret.Data, authority.KeyNextCert)
	delete(secret.Data, authority.KeyNextKey)
	return nil
}

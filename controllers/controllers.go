// Package controllers puts the reconcilers together. Each kind has a package of its own.
package controllers

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/nfs-operator/nfs-operator/controllers/deleteguard"
	"github.com/nfs-operator/nfs-operator/controllers/internal/agents"
	"github.com/nfs-operator/nfs-operator/controllers/internal/images"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/nfsbackend"
	"github.com/nfs-operator/nfs-operator/controllers/nfsdriver"
	"github.com/nfs-operator/nfs-operator/controllers/pki"
	"github.com/nfs-operator/nfs-operator/controllers/storageprofile"
	"github.com/nfs-operator/nfs-operator/internal/version"
)

// eventSource is who the events are from.
const eventSource = "nfs-operator"

// SetupWithManager adds all reconcilers for an installation in namespace.
func SetupWithManager(ctx context.Context, mgr ctrl.Manager, namespace string) error {
	c := mgr.GetClient()
	recorder := mgr.GetEventRecorder(eventSource)
	claim := install.Claim{Client: c, Namespace: namespace}
	set := images.FromEnvironment()

	backends := &nfsbackend.Reconciler{
		Client: c, Uncached: mgr.GetAPIReader(), Recorder: recorder, Claim: claim, Namespace: namespace, Image: set.Server, Version: version.Version,
		Agents: &agents.Client{Reader: c, Namespace: namespace},
	}
	if err := backends.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up NFSBackend controller: %w", err)
	}
	profiles := &storageprofile.Reconciler{Client: c, Recorder: recorder, Claim: claim}
	if err := profiles.SetupWithManager(ctx, mgr); err != nil {
		return fmt.Errorf("set up StorageProfile controller: %w", err)
	}
	driver := &nfsdriver.Reconciler{
		Client: c, Uncached: mgr.GetAPIReader(), Recorder: recorder, Claim: claim, Namespace: namespace, Images: set,
	}
	if err := driver.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up NFSDriver controller: %w", err)
	}
	guard := &deleteguard.Reconciler{Client: c, Uncached: mgr.GetAPIReader(), Claim: claim, Namespace: namespace}
	if err := guard.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up delete guard: %w", err)
	}
	authority := &pki.Authority{Client: c, Uncached: mgr.GetAPIReader(), Claim: claim, Namespace: namespace}
	if err := authority.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up authority controller: %w", err)
	}
	signer := &pki.Signer{Client: c, Claim: claim, Namespace: namespace}
	if err := signer.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up signer: %w", err)
	}
	return mgr.AddReadyzCheck("claim", claim.Check)
}

package storageprofile

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	admissionv1ac "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/profile"
)

// applyPolicy makes the policy and its binding for a profile that restricts something, and removes them from one that
// does not: an unrestricted class costs nothing at admission.
func (r *Reconciler) applyPolicy(ctx context.Context, s *scope) error {
	if !profile.Restricted(&s.profile.Spec) {
		return r.removePolicy(ctx, s)
	}
	_, err := apply.Object(ctx, r.Client, &admissionv1.ValidatingAdmissionPolicy{},
		profile.Policy(s.profile), admissionv1ac.ExtractValidatingAdmissionPolicy)
	if err != nil {
		return err
	}
	_, err = apply.Object(ctx, r.Client, &admissionv1.ValidatingAdmissionPolicyBinding{},
		profile.PolicyBinding(s.profile), admissionv1ac.ExtractValidatingAdmissionPolicyBinding)
	return err
}

// removePolicy removes the binding first: a binding without its policy would refuse.
func (r *Reconciler) removePolicy(ctx context.Context, s *scope) error {
	key := client.ObjectKey{Name: profile.PolicyName(s.profile.Name)}
	for _, obj := range []client.Object{&admissionv1.ValidatingAdmissionPolicyBinding{}, &admissionv1.ValidatingAdmissionPolicy{}} {
		err := r.Client.Get(ctx, key, obj)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("get %T %s: %w", obj, key.Name, err)
		}
		if err != nil {
			continue
		}
		if err := apply.Delete(ctx, r.Client, obj); err != nil {
			return err
		}
	}
	return nil
}

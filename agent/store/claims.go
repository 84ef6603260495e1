package store

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// LinkClaim makes the link by which an administrator finds a volume under its claim's name. Names that are not DNS names
// get none.
func (s *Store) LinkClaim(v Volume) error {
	ns, pvc := v.Spec.ClaimNamespace, v.Spec.ClaimName
	if !ValidDNSName(ns) || !ValidDNSName(pvc) {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(s.claimsDir(), ns), metaPerm); err != nil {
		return err
	}
	return renameio.Symlink(claimTarget(v.ID), s.claimLink(ns, pvc))
}

// UnlinkClaim removes the link, unless a newer volume of a claim with the same name has it.
func (s *Store) UnlinkClaim(v Volume) error {
	ns, pvc := v.Spec.ClaimNamespace, v.Spec.ClaimName
	if !ValidDNSName(ns) || !ValidDNSName(pvc) {
		return nil
	}
	target, err := os.Readlink(s.claimLink(ns, pvc))
	if errors.Is(err, os.ErrNotExist) || err == nil && target != claimTarget(v.ID) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(s.claimLink(ns, pvc)); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(s.claimsDir(), ns)) // fails while other claims are there
	return nil
}

func claimTarget(id string) string { return filepath.Join("..", "..", "volumes", id) }

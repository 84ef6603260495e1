package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
)

// LinkClaim makes the link by which an administrator finds a volume under its claim's name. Names that are not DNS names
// get none.
func (s *Store) LinkClaim(v Volume) error {
	if !v.hasClaim() {
		return nil
	}
	link := s.claimLinkOf(v)
	err := os.Symlink(claimTarget(v.ID), link)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(link), metaPerm); err == nil {
			err = os.Symlink(claimTarget(v.ID), link)
		}
	}
	if errors.Is(err, os.ErrExist) { // an older volume's
		if has, _ := os.Readlink(link); has == claimTarget(v.ID) {
			return nil
		}
		return renameio.Symlink(claimTarget(v.ID), link)
	}
	return err
}

// UnlinkClaim removes the link, unless a newer volume of a claim with the same name has it.
func (s *Store) UnlinkClaim(v Volume) error {
	if !v.hasClaim() {
		return nil
	}
	link := s.claimLinkOf(v)
	target, err := os.Readlink(link)
	if errors.Is(err, os.ErrNotExist) || err == nil && target != claimTarget(v.ID) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Remove(link); err != nil {
		return err
	}
	_ = os.Remove(filepath.Dir(link)) // fails while other claims are there
	return nil
}

// RepairClaims makes the links agree with the volumes in service, after a crash: links are made behind the answer. What an administrator
// put there is left alone.
func (s *Store) RepairClaims() error {
	var failed []error
	linked := map[string]bool{} // volumes that have their link
	err := fs.WalkDir(os.DirFS(s.claimsDir()), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink == 0 {
			return err
		}
		link := filepath.Join(s.claimsDir(), path)
		target, err := os.Readlink(link)
		if id := filepath.Base(target); err == nil && target == claimTarget(id) && ValidID(id) {
			if v, ok := s.Volume(id); ok && v.State == StateReady && v.hasClaim() && s.claimLinkOf(v) == link {
				linked[id] = true
				return nil
			}
			failed = append(failed, os.Remove(link))
			_ = os.Remove(filepath.Dir(link))
		}
		return nil
	})
	ready := slices.DeleteFunc(s.Volumes(), func(v Volume) bool { return v.State != StateReady || linked[v.ID] || !v.hasClaim() })
	slices.SortFunc(ready, func(a, b Volume) int { return b.Created.Compare(a.Created) }) // the newest of a claim gets the link
	for _, v := range ready {
		if _, err := os.Lstat(s.claimLinkOf(v)); err != nil { // else another volume of this claim has it
			failed = append(failed, s.LinkClaim(v))
		}
	}
	return errors.Join(append(failed, err)...)
}

func (v Volume) hasClaim() bool {
	return ValidDNSName(v.Spec.ClaimNamespace) && ValidDNSName(v.Spec.ClaimName)
}

func (s *Store) claimLinkOf(v Volume) string {
	return s.claimLink(v.Spec.ClaimNamespace, v.Spec.ClaimName)
}

func claimTarget(id string) string { return filepath.Join("..", "..", "volumes", id) }

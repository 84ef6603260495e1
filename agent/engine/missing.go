package engine

import (
	"fmt"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Missing is what the file system below cannot do: one that we have made can do all of it, one that was made by others, or the share of an
// external server, may not. What is missing is refused where it is asked for, or, where refusing would leave nothing, not kept: without Quota sizes are recorded and not
// enforced.
type Missing struct {
	Quota   bool // no limits, and no knowledge of what a volume takes
	Reflink bool // no copies that share data: snapshots, clones, restores
	Squash  bool // the exports are somebody else's
}

// seeStatus tells people where the reasons are.
const seeStatus = "status.limitations of the NFSBackend says why"

func (m Missing) checkSpec(s store.Spec) error {
	switch {
	case m.Squash && s.Squash != "" && s.Squash != store.SquashNone:
		return fmt.Errorf("%w: squash %s: an external server maps user ids as its own export says; set squash None in the profile, and "+
			"what is wanted at the server", ErrInvalid, s.Squash)
	case m.Quota && s.Inodes != 0:
		return fmt.Errorf("%w: a number of inodes cannot be enforced here: %s", ErrInvalid, seeStatus)
	}
	return nil
}

// checkCreate refuses a source as invalid, not as unsupported: that is what CSI has for a source that cannot be used.
func (m Missing) checkCreate(r CreateRequest) error {
	if m.Reflink && (r.SourceVolume != "" || r.SourceSnapshot != "") {
		return fmt.Errorf("%w: files cannot be cloned here (%s), and data are never copied: make an empty volume and copy into it, or use a "+
			"backend that can", ErrInvalid, seeStatus)
	}
	return m.checkSpec(r.Spec)
}

func (m Missing) checkSnapshot() error {
	if m.Reflink {
		return fmt.Errorf("%w: files cannot be cloned here, so there are no snapshots (%s): use those of the storage below, or a backend that can",
			ErrUnsupported, seeStatus)
	}
	return nil
}

func (m Missing) checkExport() error {
	if m.Quota {
		return fmt.Errorf("%w: a static export has a size, which cannot be enforced here: %s", ErrUnsupported, seeStatus)
	}
	return nil
}

package engine

import (
	"fmt"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Expand raises a volume's size. A size at or below the present one changes nothing.
func (e *Engine) Expand(id string, bytes, limit int64) (store.Volume, error) {
	if bytes <= 0 || limit < 0 {
		return store.Volume{}, fmt.Errorf("%w: size is %d bytes, limit %d", ErrInvalid, bytes, limit)
	}
	release, err := e.lockVolume(id)
	if err != nil {
		return store.Volume{}, err
	}
	defer release()
	v, err := e.Volume(id)
	if err != nil {
		return store.Volume{}, err
	}
	wanted := store.RoundVolumeBytes(bytes)
	if wanted > v.Spec.Bytes {
		if err := e.grow(&v, wanted, limit); err != nil {
			return store.Volume{}, err
		}
	} else if limit > 0 && v.Spec.Bytes > limit {
		return store.Volume{}, fmt.Errorf("%w: it has %d bytes already, over the limit of %d", ErrOutOfRange, v.Spec.Bytes, limit)
	}
	// Also when nothing has changed: a call that was cut off may have written the record only.
	return v, e.Filesystem.SetLimits(v.ProjectID, v.Spec.Bytes, v.Spec.InodeLimit())
}

func (e *Engine) grow(v *store.Volume, bytes, limit int64) error {
	for _, most := range []int64{limit, v.Spec.MaxBytes} {
		if most > 0 && bytes > most {
			return fmt.Errorf("%w: %d bytes are over the limit of %d", ErrOutOfRange, bytes, most)
		}
	}
	v.Spec.Bytes = bytes
	if e.Missing.Quota { // what it takes already is not free: there is nothing to compare with
		return e.Store.PutVolume(*v)
	}
	release, err := e.promise(v.ID, v.Spec)
	if err != nil {
		return err
	}
	defer release()
	return e.Store.PutVolume(*v)
}

package engine

import (
	"context"
	"errors"
	"time"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// A volume is provisional until somebody shows that the cluster knows of it. The CSI controller deletes provisional volumes that
// nobody asks for any more: whoever asked has died between the volume's creation and the PersistentVolume's.

// ErrConfirmed is returned when a volume that is known to the cluster, or was asked for lately, is to be swept.
var ErrConfirmed = errors.New("volume is in use by the cluster")

// askedPrecision is how old Volume.Asked may be before a repeated CreateVolume writes it anew.
const askedPrecision = time.Minute

// askedAgain notes that CreateVolume has answered with a volume. The caller holds its lock.
func (e *Engine) askedAgain(v store.Volume) error {
	if now := e.Now().UTC(); v.Provisional && now.Sub(v.Asked) > askedPrecision {
		v.Asked = now
		return e.Store.PutVolume(v)
	}
	return nil
}

// Confirm notes that the cluster knows of a volume. What does not exist is passed over.
func (e *Engine) Confirm(id string) error {
	if v, ok := e.Store.Volume(id); !ok || !v.Provisional {
		return nil
	}
	release, err := e.lockVolume(id)
	if err != nil {
		return err
	}
	defer release()
	v, ok := e.Store.Volume(id)
	if !ok || !v.Provisional || v.State != store.StateReady {
		return nil
	}
	v.Provisional, v.Asked = false, time.Time{}
	return e.Store.PutVolume(v)
}

// DeleteProvisional is Delete, if the volume is still provisional and CreateVolume has not answered with it for so long; else
// ErrConfirmed.
func (e *Engine) DeleteProvisional(ctx context.Context, id string, idle time.Duration) error {
	return e.delete(ctx, id, func(v store.Volume) error {
		if v.State == store.StateReady && (!v.Provisional || e.Now().Sub(v.Asked) < idle) {
			return ErrConfirmed
		}
		return nil
	})
}

package share

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Error says why a share cannot be used.
type Error struct {
	Reason string
	Err    error
}

func (e Error) Error() string { return e.Err.Error() }

func (e Error) Unwrap() error { return e.Err }

// failed gives an error of a system call on the share its reason.
func failed(err error) error {
	switch {
	case errors.As(err, new(Error)):
		return err
	case errors.Is(err, unix.EROFS):
		return Error{agentv1.ReasonShareReadOnly, fmt.Errorf("%w: the server exports the share read-only: export it for writing", err)}
	case errors.Is(err, os.ErrPermission):
		return squashed(err)
	case errors.Is(err, unix.ETIMEDOUT):
		return Error{agentv1.ReasonShareUnreachable, err}
	}
	return Error{agentv1.ReasonShareFailed, err}
}

func squashed(err error) error {
	return Error{agentv1.ReasonShareRootSquashed, fmt.Errorf("%w: the server takes root for another user (root_squash). The agent gives volumes their owners, and "+
		"removes files of all users: export the share with no_root_squash to all nodes and to the agent's pod", err)}
}

// identified says whether what was found on a share is what may be used.
func identified(c config.External, found store.Server, exists bool, err error) error {
	switch {
	case errors.Is(err, store.ErrNewerFormat):
		return Error{agentv1.ReasonNewerFormat, err}
	case errors.Is(err, store.ErrForeign):
		return Error{agentv1.ReasonShareNotEmpty, fmt.Errorf("%w: a backend needs an empty directory of its own: make one at the server, and name it as the path", err)}
	case err != nil:
		return failed(err)
	case !exists && c.ServerID != "":
		return Error{agentv1.ReasonShareChanged, fmt.Errorf("the share is empty, but this backend's volumes lie on server %s: is the file system behind the export "+
			"mounted at the server, and the path the one that it was?", c.ServerID)}
	case !exists:
		return nil
	case found.Owner != c.Owner && (c.TakeOver == "" || found.Owner != c.TakeOver):
		return ownedError(c, found.Owner)
	case c.ServerID != "" && found.ServerID != c.ServerID:
		return Error{agentv1.ReasonShareChanged, fmt.Errorf("the share is that of server %s, but this backend's volumes lie on server %s: is the path the one that it was?",
			found.ServerID, c.ServerID)}
	}
	return nil
}

func ownedError(c config.External, owner string) error {
	return Error{agentv1.ReasonShareOwned, fmt.Errorf("%w: %q. Two that write to one share would damage each other's volumes: give this backend (%q) a directory of its "+
		"own; or, when the other is certainly gone for ever, let it take over from %q", store.ErrOwned, owner, c.Owner, owner)}
}

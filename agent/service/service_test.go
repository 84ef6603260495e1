package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/agent/access"
	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// methods are all that the service offers.
func methods() []string {
	var all []string
	for _, m := range agentv1.Agent_ServiceDesc.Methods {
		all = append(all, "/"+agentv1.Agent_ServiceDesc.ServiceName+"/"+m.MethodName)
	}
	for _, s := range agentv1.Agent_ServiceDesc.Streams {
		all = append(all, "/"+agentv1.Agent_ServiceDesc.ServiceName+"/"+s.StreamName)
	}
	return all
}

func TestEveryMethodHasItsRoles(t *testing.T) {
	all := methods()
	for _, method := range all {
		if len(allowed[method]) == 0 {
			t.Errorf("nobody may call %s", method)
		}
	}
	if len(allowed) != len(all) {
		t.Errorf("the table has %d methods, the service %d", len(allowed), len(all))
	}
}

func TestRoles(t *testing.T) {
	const node, controller, manager, agent = pki.RoleNode, pki.RoleController, pki.RoleManager, pki.RoleAgent
	want := map[string][]pki.Role{
		"CreateVolume": {controller}, "DeleteVolume": {controller}, "ExpandVolume": {controller},
		"ModifyVolume": {controller}, "ConfirmVolumes": {controller},
		"GetVolume": {controller, manager}, "ListVolumes": {controller, manager}, "GetCapacity": {controller, manager},
		"CreateSnapshot": {controller}, "DeleteSnapshot": {controller}, "ListSnapshots": {controller, manager},
		"OpenAccess": {node}, "SetGroup": {node}, "Announce": {node}, "GetUsage": {node, controller, manager}, "GetStatus": {manager}, "SetNodeGone": {manager},
	}
	for _, method := range append(methods(), "/nfsoperator.agent.v1.Agent/Unknown") {
		for _, role := range []pki.Role{node, controller, manager, agent, "", "nfs-operator:other"} {
			who := identify(func(context.Context) (pki.Identity, error) { return pki.Identity{Role: role, Name: "x"}, nil })
			code := codes.PermissionDenied
			for _, r := range want[method[len("/nfsoperator.agent.v1.Agent/"):]] {
				if r == role {
					code = codes.OK
				}
			}
			if got := status.Code(who.check(t.Context(), method)); got != code {
				t.Errorf("%s calls %s: %v, want %v", role, method, got, code)
			}
		}
	}
	nobody := identify(func(context.Context) (pki.Identity, error) { return pki.Identity{}, pki.ErrNoIdentity })
	if got := status.Code(nobody.check(t.Context(), agentv1.Agent_GetStatus_FullMethodName)); got != codes.Unauthenticated {
		t.Errorf("without a certificate: %v", got)
	}
}

func TestCodes(t *testing.T) {
	for err, want := range map[error]codes.Code{
		engine.ErrNotFound: codes.NotFound, engine.ErrExists: codes.AlreadyExists, engine.ErrBusy: codes.Aborted,
		engine.ErrNoSpace: codes.ResourceExhausted, engine.ErrOutOfRange: codes.OutOfRange, engine.ErrInvalid: codes.InvalidArgument,
		engine.ErrUnavailable: codes.Unavailable, engine.ErrUnsupported: codes.FailedPrecondition, unix.ETIMEDOUT: codes.Unavailable,
		unix.ENOSPC: codes.ResourceExhausted, engine.ErrConfirmed: codes.FailedPrecondition, access.ErrHeld: codes.FailedPrecondition, access.ErrNotFound: codes.NotFound,
		access.ErrInvalid: codes.InvalidArgument, errors.New("other"): codes.Internal, context.DeadlineExceeded: codes.DeadlineExceeded,
	} {
		if got := status.Code(toStatus(fmt.Errorf("with context: %w", err))); got != want {
			t.Errorf("%v becomes %v, want %v", err, got, want)
		}
	}
	if toStatus(nil) != nil {
		t.Error("no error becomes one")
	}
}

func TestSpecsAreTheSameBothWays(t *testing.T) {
	want := store.Spec{
		Bytes: 1, Mode: 0o2770, UID: 2, GID: 3, Squash: store.SquashAll, AnonymousUID: 4, AnonymousGID: 5,
		OnDelete: store.OnDeleteArchive, Profile: "p", MaxBytes: 6, Inodes: 7, ClaimNamespace: "ns", ClaimName: "pvc",
	}
	if got, err := specFrom(specTo(want)); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []*agentv1.VolumeSpec{{Squash: 99}, {OnDelete: 99}} {
		if _, err := specFrom(bad); !errors.Is(err, engine.ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestPage(t *testing.T) {
	self := func(s string) string { return s }
	all := []string{"a", "b", "c"}
	for name, c := range map[string]struct {
		limit int32
		n     int
		next  string
	}{"all": {0, 3, ""}, "some": {2, 2, "b"}, "exactly all": {3, 3, ""}, "more": {9, 3, ""}} {
		if got, next := page(all, c.limit, self); len(got) != c.n || next != c.next {
			t.Errorf("%s: %v, %q", name, got, next)
		}
	}
}

// A start can take longer than nodes have to be heard again.
func TestTheSilenceOfNodesCountsFromTheStartOfTheService(t *testing.T) {
	kept, err := store.Open(t.TempDir(), store.Init{FilesystemID: "uuid"})
	if err != nil {
		t.Fatal(err)
	}
	id := store.ID("pvc-1")
	single := store.Grant{Generation: 1, SingleNode: true}
	if err := errors.Join(
		kept.PutVolume(store.Volume{ID: id, Name: "pvc-1", Spec: store.Spec{Bytes: 1 << 20, Squash: store.SquashNone}, ExportID: 1, ProjectID: 1, State: store.StateReady}),
		kept.PutNode(store.Node{Name: "node-a", BootID: "boot", Grants: map[string]store.Grant{id: single}}),
	); err != nil {
		t.Fatal(err)
	}
	clock := time.Unix(1000, 0)
	book := access.New(kept, time.Minute, func() time.Time { return clock }, logr.Discard())
	clock = clock.Add(time.Minute) // for the checks before the service
	New(func(*Core) *agentv1.ServerStatus { return nil }).Start(&Core{Access: book})
	other := access.Caller{Node: "node-b", Peer: netip.MustParseAddrPort("10.0.0.2:700")}
	if _, err := book.Open(other, access.Client{BootID: "boot"}, id, single); !errors.Is(err, access.ErrHeld) {
		t.Errorf("taken from a node that nobody could hear: %v", err)
	}
}

func TestNothingButTheStatusIsAnsweredBeforeTheDiskIsThere(t *testing.T) {
	s := New(func(*Core) *agentv1.ServerStatus {
		return &agentv1.ServerStatus{Reason: "DeviceNotBlank", Message: "it holds ext4"}
	})
	if st, err := s.GetStatus(t.Context(), nil); err != nil || st.GetReason() != "DeviceNotBlank" {
		t.Errorf("status %v, %v", st, err)
	}
	_, err := s.CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("error %v", err)
	}
}

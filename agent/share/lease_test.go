package share

import (
	"strings"
	"testing"
	"time"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

const mountstats = `device proc mounted on /proc with fstype proc
device 10.0.0.8:/a mounted on /data/a with fstype nfs4 statvers=1.1
	opts:	rw,vers=4.2
	nfsv4:	bm0=0xfdffbfff,bm1=0xf9be3e,acl=0x3,sessions,pnfs=not configured,lease_time=20,lease_expired=0
device 10.0.0.9:/export mounted on /data with fstype nfs4 statvers=1.1
	opts:	rw,vers=4.2
	nfsv4:	bm0=0xfdffbfff,bm1=0xf9be3e,acl=0x3,sessions,pnfs=not configured,lease_time=90,lease_expired=0
device 10.0.0.7:/b mounted on /data/b with fstype nfs4 statvers=1.1
	nfsv4:	bm0=0xfdffbfff,lease_time=30,lease_expired=0
`

func TestLeaseOfTheShare(t *testing.T) {
	for dir, want := range map[string]time.Duration{"/data": 90 * time.Second, "/data/a": 20 * time.Second, "/elsewhere": 0, "/proc": 0} {
		if got := leaseOf(strings.NewReader(mountstats), dir); got != want {
			t.Errorf("%s: %s, want %s", dir, got, want)
		}
	}
}

// TestTheShareIsGivenUpBeforeTheLease: 10 s is the shortest lease of Linux's server.
func TestTheShareIsGivenUpBeforeTheLease(t *testing.T) {
	for _, seconds := range []time.Duration{10, 12, 15, 30, 90, 3600} {
		lease := seconds * time.Second
		interval, patience := pace(lease)
		if notice := interval + patience + abandonTimeout; notice > lease*2/3 || interval <= 0 || patience < 4*time.Second {
			t.Errorf("lease %s: a look each %s that may take %s", lease, interval, patience)
		}
	}
	if interval, patience := pace(90 * time.Second); interval != watchInterval || patience != watchPatience {
		t.Errorf("the usual lease: %s, %s", interval, patience)
	}
}

func TestShareThatChangesBeforeTheLockIsNotBegunAnew(t *testing.T) {
	p := place(t, &mounter{})
	p.Config.ServerID = ""
	s := &Share{place: p}
	if _, err := s.look("nfs-1"); reasonOf(err) != agentv1.ReasonShareChanged {
		t.Errorf("error %v", err)
	}
	if found, err := s.look(""); err != nil || found.ServerID != "" {
		t.Errorf("a new share: %+v, %v", found, err)
	}
}

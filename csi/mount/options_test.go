package mount

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const baseText = "vers=4.2,hard,timeo=100,retrans=1,proto=tcp,port=2049"

func TestMakeOptions(t *testing.T) {
	tests := map[string]struct {
		address     string
		agent, user []string
		want        Options
	}{
		"the driver's own": {
			address: "10.0.0.1",
			want:    Options{Data: baseText + ",addr=10.0.0.1"},
		},
		"the agent's are added": {
			address: "10.0.0.1", agent: []string{"resvport"},
			want: Options{Data: baseText + ",resvport,addr=10.0.0.1"},
		},
		"the user's override, with one vers only": {
			address: "10.0.0.1", agent: []string{"resvport"}, user: []string{"nfsvers=4.1", "soft", "timeo=50"},
			want: Options{Data: "vers=4.1,soft,timeo=50,retrans=1,proto=tcp,port=2049,resvport,addr=10.0.0.1"},
		},
		"the last of the user's holds": {
			address: "10.0.0.1", user: []string{"v4.1", "vers=4.2", "nconnect=2,nconnect=8", " noac "},
			want: Options{Data: baseText + ",nconnect=8,noac,addr=10.0.0.1"},
		},
		"an external server's": {
			address: "10.0.0.1", agent: []string{"vers=4.1", "port=20490", "noresvport", "nosharecache"}, user: []string{"sharecache"},
			want: Options{Data: "vers=4.1,hard,timeo=100,retrans=1,proto=tcp,port=20490,noresvport,nosharecache,addr=10.0.0.1"},
		},
		"flags of mount(2)": {
			address: "10.0.0.1", user: []string{"ro", "nosuid,nodev", "noexec", "exec", "noatime", "_netdev", "defaults"},
			want: Options{Flags: unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOATIME, Data: baseText + ",addr=10.0.0.1"},
		},
		"IPv6": {
			address: "fd00::1",
			want:    Options{Data: baseText + ",addr=fd00::1"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := MakeOptions(test.address, test.agent, test.user)
			if err != nil || got != test.want {
				t.Errorf("got %+v, %v\nwant %+v", got, err, test.want)
			}
		})
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, option := range []string{
		"nconnect=9", "nconnect=16", "nconnect=0", "nconnect=x", "nconnect", "vers=3", "vers=4", "nfsvers=4.0", "v3", "v4",
		"vers=", "vers", "minorversion=0", "addr=10.0.0.2", "clientaddr=1.2.3.4", "port=111", "proto=udp", "udp",
		"mountaddr=10.0.0.2", "resvport", "noresvport", "remount", "bind", "bg", "a b", "x=\x00", "x=\"y\"", "x=y\\", "Hard", "=", "hard=",
		"x=" + strings.Repeat("y", 200), strings.Repeat("x", 100), "../..", "v4.1=2",
	} {
		if err := CheckOptions([]string{option}); !errors.Is(err, ErrOptions) {
			t.Errorf("CheckOptions(%q) = %v, want ErrOptions", option, err)
		}
	}
	if _, err := MakeOptions("nfsd-0-main", nil, nil); !errors.Is(err, ErrOptions) {
		t.Errorf("a name instead of an address: %v", err)
	}
}

// FuzzOptions proves that whatever a class or a volume says, the text for the kernel names one version, one address
// and one of each kind.
func FuzzOptions(f *testing.F) {
	for _, seed := range []string{"hard", "vers=4.1,vers=4.2", "soft,addr=1.2.3.4", "v4.1,nconnect=8", "x=,y", "noac,ac"} {
		f.Add(seed)
	}
	plain := regexp.MustCompile(`^[A-Za-z0-9_.:/=,-]*$`)
	f.Fuzz(func(t *testing.T, user string) {
		o, err := MakeOptions("10.0.0.1", []string{"resvport"}, []string{user})
		if err != nil {
			return
		}
		if !plain.MatchString(o.Data) {
			t.Fatalf("%q became %q", user, o.Data)
		}
		var kinds []string
		for _, option := range strings.Split(o.Data, ",") {
			kinds = append(kinds, kindOf(option))
		}
		slices.Sort(kinds)
		if len(slices.Compact(slices.Clone(kinds))) != len(kinds) {
			t.Fatalf("%q became %q, which says something twice", user, o.Data)
		}
		if !strings.HasSuffix(o.Data, ",addr=10.0.0.1") || !strings.Contains(","+o.Data, ",vers=4.") {
			t.Fatalf("%q became %q", user, o.Data)
		}
	})
}

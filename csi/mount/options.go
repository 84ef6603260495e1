package mount

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrOptions is returned for mount options that cannot be.
var ErrOptions = errors.New("bad mount options")

// Options are the options of an NFS mount in the two forms that mount(2) takes.
type Options struct {
	Flags uintptr
	Data  string
}

// base are the options of every mount. With the kernel's own timeo a client takes 180 s to notice that a server's
// host is gone and to connect to the one that has taken over its address. A connection, also one that is being made, is given up after
// max(lease/(retrans+1), 6 s)*(retrans+1): 12 s here, and 18 s with the kernel's own retrans of 2, while the server's new pod waits.
var base = []string{"vers=4.2", "hard", "timeo=100", "retrans=1", "proto=tcp", "port=2049"}

// maxConnections is the most TCP connections of one mount: Ganesha can hang with 16.
const maxConnections = 8

var optionPattern = regexp.MustCompile(`^[a-z_][a-z0-9_.]{0,31}(=[A-Za-z0-9_.:/-]{1,128})?$`)

// vfs are the options that are flags of mount(2) and not part of its text: bits to set, bits to clear.
var vfs = map[string][2]uintptr{
	"rw": {0, unix.MS_RDONLY}, "ro": {unix.MS_RDONLY, 0},
	"suid": {0, unix.MS_NOSUID}, "nosuid": {unix.MS_NOSUID, 0},
	"dev": {0, unix.MS_NODEV}, "nodev": {unix.MS_NODEV, 0},
	"exec": {0, unix.MS_NOEXEC}, "noexec": {unix.MS_NOEXEC, 0},
	"async": {0, unix.MS_SYNCHRONOUS}, "sync": {unix.MS_SYNCHRONOUS, 0},
	"dirsync": {unix.MS_DIRSYNC, 0},
	"atime":   {0, unix.MS_NOATIME}, "noatime": {unix.MS_NOATIME, 0},
	"diratime": {0, unix.MS_NODIRATIME}, "nodiratime": {unix.MS_NODIRATIME, 0},
	"relatime": {unix.MS_RELATIME, 0}, "strictatime": {unix.MS_STRICTATIME, unix.MS_RELATIME | unix.MS_NOATIME},
}

// ignored are options for mount(8), which runs at boot, and those that say nothing: what all that is mounted alike shares, the
// kernel decides by itself, and for an external server the agent.
var ignored = map[string]bool{"defaults": true, "_netdev": true, "nofail": true, "sharecache": true}

// ours are options that say which server is mounted, and how its address is found. They are the driver's.
var ours = map[string]bool{
	"addr": true, "clientaddr": true, "port": true, "proto": true, "mountaddr": true, "mounthost": true,
	"mountport": true, "mountproto": true, "mountvers": true, "minorversion": true, "remount": true, "bind": true,
	"udp": true, "rdma": true, "bg": true, "retry": true,
	// The agent expects what it answered: a server refuses a node that does not mount from the kind of port from which
	// its control connection came.
	"resvport": true, "noresvport": true,
}

// backends are those of ours that an NFSBackend may set for its external server: there the agent expects nothing.
var backends = map[string]bool{"port": true, "resvport": true, "noresvport": true}

// rivals are options of which the last one holds, by what they decide together.
var rivals = map[string]string{
	"soft": "hard", "softerr": "hard", "nfsvers": "vers", "tcp": "proto",
}

// booleans exist with and without "no" before them.
var booleans = map[string]bool{
	"resvport": true, "ac": true, "cto": true, "lock": true, "sharecache": true, "rdirplus": true, "fsc": true,
	"acl": true, "intr": true, "migration": true, "trunkdiscovery": true,
}

// CheckOptions says whether a user's options (of a StorageClass or a PersistentVolume) can be given to a mount.
func CheckOptions(user []string) error {
	_, err := MakeOptions("192.0.2.1", nil, user)
	return err
}

// CheckBackendOptions says whether the options of an NFSBackend with an external server can be given to its mounts. They come to the
// nodes as the agent's, and so may say at which port the server listens, and from which kind of port it is mounted.
func CheckBackendOptions(backend []string) error {
	for _, o := range backend {
		name, value, _ := strings.Cut(o, "=")
		switch {
		case ours[name] && !backends[name]:
			return fmt.Errorf("%w: %q is the driver's own", ErrOptions, name)
		case name == "ro":
			return fmt.Errorf("%w: %q: volumes are made on the share", ErrOptions, o)
		case name == "port":
			if n, err := strconv.ParseUint(value, 10, 16); err != nil || n == 0 {
				return fmt.Errorf("%w: %q: must be 1 to 65535", ErrOptions, o)
			}
		}
	}
	_, err := MakeOptions("192.0.2.1", backend, nil)
	return err
}

// MakeOptions joins the driver's options, the agent's and the user's; of two that exclude each other the later one
// holds, and the user's are the last.
func MakeOptions(address string, agent, user []string) (Options, error) {
	ip := net.ParseIP(address)
	if ip == nil {
		return Options{}, fmt.Errorf("%w: %q is no IP address", ErrOptions, address)
	}
	set := optionSet{values: map[string]string{}}
	for _, o := range base {
		set.put(o)
	}
	for _, o := range agent {
		if err := set.add(o); err != nil {
			return Options{}, fmt.Errorf("from the server's agent: %w", err)
		}
	}
	for _, list := range user {
		for o := range strings.SplitSeq(list, ",") {
			if o = strings.TrimSpace(o); o == "" {
				continue
			}
			if name, _, _ := strings.Cut(o, "="); ours[name] {
				return Options{}, fmt.Errorf("%w: %q is the driver's own", ErrOptions, name)
			}
			if err := set.add(o); err != nil {
				return Options{}, err
			}
		}
	}
	set.put("addr=" + ip.String())
	return Options{Flags: set.flags, Data: set.text()}, nil
}

// optionSet keeps options in the order in which their kind first appeared.
type optionSet struct {
	flags  uintptr
	order  []string
	values map[string]string // by kind: the whole option
}

func (s *optionSet) add(option string) error {
	if !optionPattern.MatchString(option) {
		return fmt.Errorf("%w: %.64q", ErrOptions, option)
	}
	if bits, ok := vfs[option]; ok {
		s.flags = s.flags&^bits[1] | bits[0]
		return nil
	}
	if ignored[option] {
		return nil
	}
	option, err := checkValue(option)
	if err != nil {
		return err
	}
	s.put(option)
	return nil
}

func (s *optionSet) put(option string) {
	kind := kindOf(option)
	if _, known := s.values[kind]; !known {
		s.order = append(s.order, kind)
	}
	s.values[kind] = option
}

func (s *optionSet) text() string {
	options := make([]string, len(s.order))
	for i, kind := range s.order {
		options[i] = s.values[kind]
	}
	return strings.Join(options, ",")
}

// kindOf says what an option decides.
func kindOf(option string) string {
	name, _, _ := strings.Cut(option, "=")
	if kind, ok := rivals[name]; ok {
		return kind
	}
	if positive, ok := strings.CutPrefix(name, "no"); ok && booleans[positive] {
		return positive
	}
	return name
}

// checkValue refuses values that would not work, and gives one spelling to what has several.
func checkValue(option string) (string, error) {
	name, value, hasValue := strings.Cut(option, "=")
	switch name {
	case "v4.1", "v4.2":
		if hasValue {
			return "", fmt.Errorf("%w: %q takes no value", ErrOptions, name)
		}
		return "vers=" + strings.TrimPrefix(name, "v"), nil
	case "v2", "v3", "v4", "v4.0":
		return "", fmt.Errorf("%w: %q: the servers speak NFS 4.1 and 4.2 only", ErrOptions, option)
	case "vers", "nfsvers":
		if value != "4.1" && value != "4.2" {
			return "", fmt.Errorf("%w: %q: the servers speak NFS 4.1 and 4.2 only", ErrOptions, option)
		}
		return "vers=" + value, nil
	case "nconnect":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxConnections {
			return "", fmt.Errorf("%w: %q: must be 1 to %d", ErrOptions, option, maxConnections)
		}
	}
	return option, nil
}

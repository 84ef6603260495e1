// Package nodestate is what a node plugin must remember across its restarts, in a directory of the host: the volumes
// that are staged on the node, where their servers are, and a number that only rises. What the node tells the agents
// rests on it, so a volume is written down before it is mounted and struck out after it is unmounted.
package nodestate

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// Volume is one that is staged, or about to be, or whose mount the kernel has not let go of yet.
type Volume struct {
	Handle      string `json:"handle"`
	StagingPath string `json:"stagingPath"`
	// Generation rises with every stage on this node.
	Generation int64 `json:"generation"`
	ReadOnly   bool  `json:"readOnly,omitempty"`
	// SingleNode says that the volume's access mode admits one node at a time.
	SingleNode bool `json:"singleNode,omitempty"`
	// Source is what is mounted, as mountinfo has it; empty until the agent has said.
	Source string `json:"source,omitempty"`
	// Address is where the server's agent was reached, if it is also where the volume was mounted from; empty for an external server.
	Address string `json:"address,omitempty"`
	// Options are those of the mount, as mount(2) was given them.
	Options string `json:"options,omitempty"`
	// Group was given the right to read and write the volume from this node.
	Group *uint32 `json:"group,omitempty"`
	// Recovered says that the record was lost, and what is known comes from the mount: the access mode is a guess.
	Recovered bool `json:"recovered,omitempty"`
	// Lingering is set when the volume is unmounted, but the kernel still had its file system: it may write back.
	Lingering *Lingering `json:"lingering,omitempty"`
	// Former lingered when the volume was staged again. A mount that is there since says nothing of them: the kernel may
	// have made a new file system beside an old one that still writes back.
	Former []Lingering `json:"former,omitempty"`
}

// Lingering is a file system that outlives its last visible mount.
type Lingering struct {
	BootID     string           `json:"bootID"`
	Filesystem mount.Filesystem `json:"filesystem"`
	// ReadOnly says that nothing could be written to it, so that it has nothing to write back.
	ReadOnly bool `json:"readOnly,omitempty"`
}

// is tells whether both are the same file system.
func (l Lingering) is(o Lingering) bool { return l.BootID == o.BootID && l.Filesystem == o.Filesystem }

// Shard is the volume's shard.
func (v Volume) Shard() volumeid.Shard {
	id, _ := volumeid.ParseVolume(v.Handle) // checked on the way in
	return id.Shard
}

// Grant is what the volume is to its agent. One that is staged read-only may still have to be written to: what was written before, and
// the kernel has not written back yet.
func (v Volume) Grant() *agentv1.Grant {
	id, _ := volumeid.ParseVolume(v.Handle) // checked on the way in
	return &agentv1.Grant{
		VolumeId: id.ID, Generation: v.Generation, ReadOnly: v.ReadOnly && !v.writesBack(), SingleNode: v.SingleNode,
	}
}

// writesBack tells whether a file system lingers that could be written to.
func (v Volume) writesBack() bool {
	writable := func(l Lingering) bool { return !l.ReadOnly }
	return v.Lingering != nil && writable(*v.Lingering) || slices.ContainsFunc(v.Former, writable)
}

// server is a shard that this node has used.
type server struct {
	// Address is where it was last reached: for a node that boots before the cluster's DNS.
	Address string `json:"address"`
	// Open says that its agent may hold grants of this node.
	Open bool `json:"open"`
}

// Store is the directory and its contents.
type Store struct {
	dir    string
	bootID string

	mu         sync.Mutex
	volumes    map[string]Volume
	servers    map[volumeid.Shard]server
	generation int64
	reserved   int64 // generations up to this one are written down as used
	unreadable []string
}

// generationBlock is how many generations there are for each write of their file.
const generationBlock = 1000

// Begin writes a volume down that is about to be mounted, and gives it the next generation. What lingers of it from
// before is kept: the mount may never come to be.
func (s *Store) Begin(v Volume) (Volume, error) {
	id, err := volumeid.ParseVolume(v.Handle)
	if err != nil {
		return Volume{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.Generation, err = s.next(); err != nil {
		return Volume{}, err
	}
	v.Lingering, v.Former = nil, s.lingering(s.volumes[v.Handle])
	if err := s.writeVolume(v); err != nil {
		return Volume{}, err
	}
	s.volumes[v.Handle] = v
	sv := s.servers[id.Shard]
	sv.Open = true
	return v, s.setServer(id.Shard, sv)
}

// Update changes the record of a volume that is there, and leaves its generation.
func (s *Store) Update(handle string, change func(*Volume)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.volumes[handle]
	if !ok {
		return nil
	}
	change(&v)
	if err := s.writeVolume(v); err != nil {
		return err
	}
	s.volumes[handle] = v
	return nil
}

// Volumes are all, in order of their handles.
func (s *Store) Volumes() []Volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.volumes), func(a, b Volume) int { return cmp.Compare(a.Handle, b.Handle) })
}

// Get finds a volume.
func (s *Store) Get(handle string) (Volume, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.volumes[handle]
	return v, ok
}

// lingering are the file systems that the kernel may still have of a volume, without that of its mount.
func (s *Store) lingering(v Volume) []Lingering {
	var list []Lingering
	for _, l := range v.Former {
		if l.BootID == s.bootID {
			list = append(list, l)
		}
	}
	if v.Lingering != nil && v.Lingering.BootID == s.bootID && !slices.ContainsFunc(list, v.Lingering.is) {
		list = append(list, *v.Lingering)
	}
	return list
}

// Forget strikes a volume out that is not mounted. One of which a file system may linger stays until Reconcile.
func (s *Store) Forget(handle string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.volumes[handle]; ok && len(s.lingering(v)) > 0 {
		return s.unmounted(v)
	}
	return s.forget(handle)
}

// unmounted has a volume linger with what is left of its former mounts.
func (s *Store) unmounted(v Volume) error {
	if v.Lingering != nil {
		return nil
	}
	v.Former = s.lingering(v)
	last := len(v.Former) - 1
	v.Lingering, v.Former = new(v.Former[last]), v.Former[:last]
	if err := s.writeVolume(v); err != nil {
		return err
	}
	s.volumes[v.Handle] = v
	return nil
}

func (s *Store) forget(handle string) error {
	if _, ok := s.volumes[handle]; !ok {
		return nil
	}
	if err := s.remove(volumePrefix + encode(handle)); err != nil {
		return err
	}
	delete(s.volumes, handle)
	return nil
}

// Linger notes that a volume is unmounted, and which file system the kernel still has of it.
func (s *Store) Linger(handle string, f mount.Filesystem) error {
	return s.Update(handle, func(v *Volume) {
		now := Lingering{BootID: s.bootID, Filesystem: f, ReadOnly: v.ReadOnly}
		v.Former = slices.DeleteFunc(s.lingering(*v), func(l Lingering) bool {
			if now.is(l) { // one file system for both mounts
				now.ReadOnly = now.ReadOnly && l.ReadOnly
			}
			return now.is(l)
		})
		v.Lingering = &now
	})
}

// Reconcile strikes out what the kernel does not hold any more: volumes written down whose mount never came to be, or
// ended with the node's last boot, and lingering file systems that are gone. With all set it looks at every volume and
// must not run beside a stage; else at the lingering ones only. It says of which shards the agents are to know less: a volume is gone, or
// needs to be written to no more.
func (s *Store) Reconcile(m mount.Mounter, all bool) ([]volumeid.Shard, error) {
	mounts, errMounts := m.Mounts()
	filesystems, errFilesystems := m.Filesystems()
	if err := errors.Join(errMounts, errFilesystems); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var changed []volumeid.Shard
	for handle, v := range s.volumes {
		held := func(l Lingering) bool {
			return slices.Contains(filesystems, l.Filesystem) && !s.taken(l.Filesystem.Device, handle, mounts)
		}
		mounted := isMounted(v, mounts)
		if mounted && v.Lingering == nil {
			narrowed, err := s.dropFormer(v, held)
			if err != nil {
				return changed, err
			}
			if narrowed {
				changed = append(changed, v.Shard())
			}
		}
		if mounted || v.Lingering == nil && !all {
			continue
		}
		if slices.ContainsFunc(s.lingering(v), held) {
			if err := s.unmounted(v); err != nil {
				return changed, err
			}
			continue
		}
		if err := s.forget(handle); err != nil {
			return changed, err
		}
		changed = append(changed, v.Shard())
	}
	return changed, nil
}

// dropFormer strikes out the former file systems of a mounted volume that the kernel does not hold any more, and says whether that makes
// its grant read-only. One that the mount shares with a former one stays as long as the mount does.
func (s *Store) dropFormer(v Volume, held func(Lingering) bool) (narrowed bool, err error) {
	now := v
	now.Former = slices.DeleteFunc(s.lingering(v), func(l Lingering) bool { return !held(l) })
	if len(now.Former) == len(v.Former) {
		return false, nil
	}
	if err := s.writeVolume(now); err != nil {
		return false, err
	}
	s.volumes[v.Handle] = now
	return v.Grant().GetReadOnly() != now.Grant().GetReadOnly(), nil
}

// taken reports whether a device is that of another volume's mount now. The volumes of an external server's share are one file system
// to the server, so that the kernel's list does not tell one's from another's that was given the same number.
func (s *Store) taken(device, handle string, mounts []mount.Mount) bool {
	return slices.ContainsFunc(mounts, func(m mount.Mount) bool {
		if m.Device != device || !m.IsNFS() {
			return false
		}
		for other, v := range s.volumes {
			if other != handle && v.Source == m.Source && v.StagingPath == m.Target {
				return true
			}
		}
		return false
	})
}

func isMounted(v Volume, mounts []mount.Mount) bool {
	at, ok := mount.At(mounts, v.StagingPath)
	return ok && at.IsNFS()
}

// HasLingering reports whether the kernel may still hold an unmounted volume, or a mounted one's former file system for whose sake it can
// be written to.
func (s *Store) HasLingering() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.volumes {
		if v.Lingering != nil || v.ReadOnly && v.writesBack() {
			return true
		}
	}
	return false
}

// Truth is all that this node has of a shard, under a generation above each of its volumes'.
func (s *Store) Truth(shard volumeid.Shard) (int64, []Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	generation, err := s.next()
	if err != nil {
		return 0, nil, err
	}
	var list []Volume
	for _, v := range s.volumes {
		if v.Shard() == shard {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b Volume) int { return cmp.Compare(a.Handle, b.Handle) })
	return generation, list, nil
}

// Address is where a shard was last reached; it is empty for one that never was.
func (s *Store) Address(shard volumeid.Shard) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers[shard].Address
}

// Has reports whether this node has a volume of a shard.
func (s *Store) Has(shard volumeid.Shard) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has(shard)
}

func (s *Store) has(shard volumeid.Shard) bool {
	for _, v := range s.volumes {
		if v.Shard() == shard {
			return true
		}
	}
	return false
}

// Open reports whether a shard's agent may hold grants of this node.
func (s *Store) Open(shard volumeid.Shard) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers[shard].Open
}

// OpenShards are the shards whose agents may hold grants of this node.
func (s *Store) OpenShards() []volumeid.Shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []volumeid.Shard
	for shard, sv := range s.servers {
		if sv.Open {
			list = append(list, shard)
		}
	}
	return list
}

// SetAddress remembers where a shard was reached.
func (s *Store) SetAddress(shard volumeid.Shard, address string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sv := s.servers[shard]
	sv.Address = address
	return s.setServer(shard, sv)
}

// Reopen notes that a shard's agent may hold grants which this node has forgotten: it is to be told what there is.
func (s *Store) Reopen(shard volumeid.Shard) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sv := s.servers[shard]
	sv.Open = true
	return s.setServer(shard, sv)
}

// Close notes that a shard's agent has acknowledged that this node has none of its volumes, unless one was begun
// since. It reports whether the shard is closed.
func (s *Store) Close(shard volumeid.Shard) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has(shard) {
		return false, nil
	}
	sv := s.servers[shard]
	sv.Open = false
	return true, s.setServer(shard, sv)
}

func (s *Store) setServer(shard volumeid.Shard, sv server) error {
	if s.servers[shard] == sv {
		return nil
	}
	if err := s.write(serverPrefix+encode(shard.String()), sv); err != nil {
		return err
	}
	s.servers[shard] = sv
	return nil
}

func (s *Store) next() (int64, error) {
	if s.generation >= s.reserved {
		reserve := s.generation + generationBlock
		if err := s.write(generationFile, reserve); err != nil {
			return 0, err
		}
		s.reserved = reserve
	}
	s.generation++
	return s.generation, nil
}

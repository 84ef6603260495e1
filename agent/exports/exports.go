// Package exports keeps the static exports of a server equal to its configuration, which it reads again whenever it changes:
// directories, quotas, records, and what the NFS server is told.
package exports

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/nfs-operator/nfs-operator/agent/access"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

const (
	// lookInterval is how often the file is looked at. The kubelet replaces it about a minute after its ConfigMap has changed.
	lookInterval = 2 * time.Second
	// retryInterval is when exports are tried again that could not be made: the disk may have room by then.
	retryInterval = 30 * time.Second
	syncTimeout   = 30 * time.Second
)

// Filesystem is the disk, as package xfs gives it.
type Filesystem interface {
	// MakeStatic makes an export's directory and says which project it is charged to.
	MakeStatic(root, path string, newProject func() (uint32, error)) (uint32, error)
	SetLimits(project uint32, bytes, inodes int64) error
}

// Engine is what is promised of the disk, and the way to the NFS server.
type Engine interface {
	PromiseExport(name string, bytes int64) (release func(), err error)
	SyncExports(ctx context.Context, names ...string) error
}

// Keeper keeps the exports.
type Keeper struct {
	File       string // of the configuration
	Store      *store.Store
	Filesystem Filesystem
	Engine     Engine
	Access     *access.Book
	Log        logr.Logger

	mu       sync.Mutex
	warnings []string

	text    []byte         // of the file when it was last read
	read    bool           // it has been
	wanted  config.Exports // what it said when it was last right
	invalid error
	unread  bool // the file could not be read last time
	retry   time.Time
}

// Warnings are what is wrong with the exports, for people.
func (k *Keeper) Warnings() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.warnings)
}

// Run follows the file until the context ends.
func (k *Keeper) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookInterval):
		}
		changed := k.Look()
		if len(changed) == 0 {
			continue
		}
		tell, cancel := context.WithTimeout(ctx, syncTimeout)
		if err := k.Engine.SyncExports(tell, changed...); err != nil {
			k.Log.V(1).Info("The NFS server will know the exports later", "error", err.Error())
		}
		cancel()
	}
}

// Look reads the file when it has changed, and makes the exports equal to it. It returns the exports that the NFS server may have to
// be told about. A file that is not right, or gone, changes nothing: what was served before still is, also when that was before a
// restart.
func (k *Keeper) Look() (changed []string) {
	text, err := os.ReadFile(k.File)
	if errors.Is(err, os.ErrNotExist) && k.never() {
		text, err = nil, nil
	}
	first := !k.read
	k.read = true
	switch {
	case err != nil:
		k.invalid, k.unread = err, true
	case first || k.unread || !bytes.Equal(text, k.text):
		k.text, k.unread = text, false
		if k.take(text); k.invalid == nil {
			return k.apply()
		}
	}
	switch {
	case first: // not readable
		if kept, err := k.Store.ExportsConfig(); err == nil {
			k.wanted, _ = config.ParseExports(kept) // it was right when it was kept
		}
		return k.apply()
	case !k.retry.IsZero() && time.Now().After(k.retry):
		return k.apply()
	case k.invalid != nil:
		k.warn(nil)
	}
	return nil
}

// never tells whether there has never been a configuration that said anything: then none is needed.
func (k *Keeper) never() bool {
	kept, err := k.Store.ExportsConfig()
	return err == nil && len(kept) == 0 && len(k.text) == 0
}

// take makes a text of the file what is wanted, if it is right.
func (k *Keeper) take(text []byte) {
	var e config.Exports
	if e, k.invalid = config.ParseExports(text); k.invalid != nil {
		return
	}
	k.wanted = e
	if err := k.Store.KeepExportsConfig(text); err != nil {
		k.Log.Error(err, "Exports may not survive a restart")
	}
}

func (k *Keeper) apply() (changed []string) {
	var static []access.Static
	var problems []string
	wanted := map[string]bool{}
	for _, x := range k.wanted.Exports {
		wanted[x.Name] = true
		record, err := k.keep(x)
		if err != nil {
			problems = append(problems, fmt.Sprintf("export %s: %v", x.Name, err))
		}
		if record.Bytes > 0 {
			static = append(static, access.Static{Record: record, Config: x})
		}
	}
	changed = k.Access.SetExports(k.wanted.AccessCIDRs, static)
	for _, record := range k.Store.Exports() {
		if !wanted[record.Name] && record.Bytes > 0 {
			record.Bytes = 0
			if err := k.Store.PutExport(record); err != nil {
				problems = append(problems, fmt.Sprintf("export %s: %v", record.Name, err))
				continue
			}
			k.Log.Info("Export is served no more; its data stay", "export", record.Name)
		}
	}
	k.retry = time.Time{}
	if len(problems) > 0 {
		k.retry = time.Now().Add(retryInterval)
	}
	k.warn(problems)
	return changed
}

// keep makes one export what it should be. On an error the record is what it was before, with Bytes 0 when it is not to be served.
func (k *Keeper) keep(x config.StaticExport) (store.Export, error) {
	x.Bytes = store.RoundVolumeBytes(x.Bytes)
	old, known := k.Store.Export(x.Name)
	if known && old.Path != x.Path {
		return store.Export{}, fmt.Errorf("its name belongs to the data in %s: choose another name", old.Path)
	}
	if !known || old.Bytes != x.Bytes {
		release, err := k.Engine.PromiseExport(x.Name, x.Bytes)
		if err != nil {
			return old, err
		}
		defer release()
	}
	record := old
	project, err := k.Filesystem.MakeStatic(k.Store.StaticRoot(), x.Path, k.Store.NewProjectID)
	if err != nil {
		old.Bytes = 0 // nobody may be sent to a directory that is not what it should be
		return old, err
	}
	if !known || record.ProjectID != project {
		for _, other := range k.Store.Exports() {
			if other.ProjectID == project && other.Path != x.Path { // a directory is charged to what the one above it is
				return store.Export{}, fmt.Errorf("path %s lies in the directory of export %s, to which it is charged", x.Path, other.Name)
			}
		}
		if err := k.forget(x.Path); err != nil {
			return store.Export{}, err
		}
		record = store.Export{Name: x.Name, Path: x.Path, ProjectID: project}
		if record.ExportID, err = k.Store.NewExportID(); err != nil {
			return store.Export{}, err
		}
	}
	record.Bytes = x.Bytes
	if err := k.Filesystem.SetLimits(project, record.Bytes, store.Inodes(record.Bytes)); err != nil {
		return old, err
	}
	if record != old {
		if err := k.Store.PutExport(record); err != nil {
			return old, err
		}
		k.Log.Info("Serving export", "export", x.Name, "path", x.Path, "bytes", record.Bytes)
	}
	return record, nil
}

// forget removes what is kept of former exports of a directory: its bytes are to be counted once.
func (k *Keeper) forget(path string) error {
	for _, record := range k.Store.Exports() {
		if record.Path == path {
			if err := k.Store.RemoveExport(record.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// warn notes what is wrong, and logs it when it is news.
func (k *Keeper) warn(problems []string) {
	if k.invalid != nil {
		problems = append([]string{fmt.Sprintf("exports are as they were, their configuration is not right: %v", k.invalid)}, problems...)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range problems {
		if !slices.Contains(k.warnings, p) {
			k.Log.Info("Problem with exports", "message", p)
		}
	}
	k.warnings = problems
}

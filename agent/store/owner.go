package store

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"strings"
)

// ErrOwned means that a share belongs to somebody else.
var ErrOwned = errors.New("share belongs to somebody else")

// Identify reads the record of the disk, or share, as a whole, without touching anything. found is false on a new one. It returns
// ErrNewerFormat and ErrForeign where Open would.
func Identify(root string) (s Server, found bool, err error) {
	text, err := os.ReadFile(Layout{Root: root}.ServerRecord())
	if errors.Is(err, os.ErrNotExist) {
		return Server{}, false, checkEmpty(root)
	}
	if err == nil {
		s, err = decodeServer(text)
	}
	if err != nil {
		return Server{}, false, fmt.Errorf("read the record of the server: %w", err)
	}
	return s, true, nil
}

const serverIDBytes = 10

func encodeServerID(b [serverIDBytes]byte) string {
	return "nfs-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// ServerIDOf is the identity of a server on a file system that is made for it alone, by that one's UUID: whose it is can be told from its
// superblock then, without mounting it.
func ServerIDOf(filesystemID string) string {
	sum := sha256.Sum256([]byte(filesystemID))
	return encodeServerID([serverIDBytes]byte(sum[:serverIDBytes]))
}

// Claim makes sure that the share belongs to an owner: that it says so, or that it names the one from whom it is taken over. Else it is
// ErrOwned, also for what nobody has claimed: somebody has copied a server's disk there.
func (s *Store) Claim(owner, takeOver string) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	server := s.Server()
	switch server.Owner {
	case owner:
		return nil
	case takeOver:
		if takeOver == "" {
			break
		}
		server.Owner = owner
		return s.saveServer(server)
	}
	return fmt.Errorf("%w: %q", ErrOwned, server.Owner)
}

// Lock is a file whose lock the one holds that may write.
func (l Layout) Lock() string { return l.Meta("lock") }

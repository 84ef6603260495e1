package host

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// recordWriters write records at once: each waits for the disk.
const recordWriters = 16

// WriteNodes writes the records of n nodes with an address each (NodeAddress), which have opened volumes from privileged ports. The agent
// that is started next knows them; no other node may have such an address.
func (h *Host) WriteNodes(tb testing.TB, n int, volumes func(node int) []string) {
	tb.Helper()
	var all errgroup.Group
	all.SetLimit(recordWriters)
	for i := range n {
		record := store.Node{Name: fmt.Sprintf("many-%d", i), BootID: "boot", SeenAddress: NodeAddress(i), Addresses: []string{NodeAddress(i)}, Generation: 1, Grants: map[string]store.Grant{}}
		for _, id := range volumes(i) {
			record.Grants[id] = store.Grant{Generation: 1, PrivilegedPort: true}
		}
		all.Go(func() error {
			text, err := json.Marshal(record)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(h.DataDir(), ".nfs-operator", "nodes", record.Name+".json"), text, 0o600)
		})
	}
	if err := all.Wait(); err != nil {
		tb.Fatal(err)
	}
}

// NodeAddress is the address of the node with this number. All are before the machine's own in a sorted list.
func NodeAddress(node int) string { return fmt.Sprintf("10.1.%d.%d", node>>8, node&0xff) }

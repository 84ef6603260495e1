// Package guest is what runs inside a virtual machine: process 1, which prepares the machine and then either runs one
// command (`cluster vm run`) or the services of a cluster node.
package guest

import (
	"encoding/json"
	"fmt"
	"os"
)

// SpecVariable names the environment variable that tells process 1 where its Spec lies.
const SpecVariable = "VM_SPEC"

// Spec says what a machine is to do. The host writes it to a file that the machine reads through its root.
type Spec struct {
	Hostname string
	Modules  []string // files of kernel modules, in the order in which to load them
	Command  *Command // exactly one of Command and Node is set
	Node     *Node
}

// Command is the one command of a machine that is powered off afterwards.
type Command struct {
	Args []string
	Env  []string
	Dir  string
}

// Write stores the specification at path.
func (s Spec) Write(path string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode machine specification: %w", err)
	}
	return os.WriteFile(path, data, 0o600)
}

func readSpec(path string) (*Spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &Spec{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("decode %s: %w", path, err)
	}
	return s, nil
}

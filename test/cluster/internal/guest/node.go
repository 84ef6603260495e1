package guest

import "errors"

// Node describes a node of the cluster.
type Node struct{}

func (n *Node) run() error { return errors.ErrUnsupported }

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func downCommand(args []string) error {
	flags := flag.NewFlagSet("down", flag.ContinueOnError)
	name := nameFlag(flags)
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return exitError{2, ""}
	}
	if err := requireRoot(); err != nil {
		return err
	}
	unlock, err := lockCluster(*name)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := load(*name)
	if c == nil {
		return err
	}
	return c.down(context.Background()) // half a removal helps nobody: not interruptible
}

// down removes all that `up` made, also when settings or parts of it are missing.
func (c *cluster) down(ctx context.Context) error {
	_, err := os.Stat(c.dir())
	if errors.Is(err, fs.ErrNotExist) && !c.netnsExists() {
		fmt.Printf("There is no cluster %s.\n", c.Name)
		return nil
	}
	var failed []error
	files, err := filepath.Glob(c.pidFile("*"))
	failed = append(failed, err)
	for _, f := range files {
		failed = append(failed, c.kill(strings.TrimSuffix(filepath.Base(f), ".json")))
	}
	failed = append(failed, c.removeNetwork(ctx), os.RemoveAll(c.dir()))
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("remove cluster %s: %w", c.Name, err)
	}
	_ = os.Remove(filepath.Join(stateDir(), "."+c.Name+".lock"))
	if left, err := os.ReadDir(stateDir()); err == nil && len(left) == 1 { // that was the last cluster: its own lock file is left
		_ = os.Remove(filepath.Join(stateDir(), allocateLock))
		_ = os.Remove(stateDir())
	}
	fmt.Printf("Cluster %s is gone.\n", c.Name)
	return nil
}

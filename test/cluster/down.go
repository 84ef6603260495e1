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
	defer c.forget()
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
	fmt.Printf("Cluster %s is gone.\n", c.Name)
	return nil
}

// forget removes the lock files of a cluster that is gone, and the directory if it was the last one.
func (c *cluster) forget() {
	if _, err := os.Stat(c.dir()); err == nil {
		return // it could not be removed
	}
	_ = os.Remove(filepath.Join(stateDir(), "."+c.Name+".lock"))
	if left, err := os.ReadDir(stateDir()); err == nil && len(left) == 1 && left[0].Name() == allocateLock {
		_ = os.Remove(filepath.Join(stateDir(), allocateLock))
	}
	_ = os.Remove(stateDir()) // fails where something is left in it
}

package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/guest"
)

var controlPort = func() int {
	port, err := strconv.Atoi(guest.ControlPort)
	if err != nil {
		panic(err)
	}
	return port
}()

// inNamespace runs f in another network namespace. A socket stays in the namespace in which it was made.
func inNamespace(path string, f func() error) error {
	target, err := os.Open(path)
	if err != nil {
		return err
	}
	defer target.Close()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and nothing else runs in the namespace
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

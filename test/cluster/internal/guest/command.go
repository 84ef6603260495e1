package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The serial lines of a machine that runs one command; the host reads their other ends.
const (
	serialStdout = "/dev/ttyS0"
	serialStderr = "/dev/ttyS1"
	serialResult = "/dev/ttyS2"
)

// run executes the command and reports its exit code on the third serial line.
func (c *Command) run() error {
	stdout, err := openSerial(serialStdout)
	if err != nil {
		return err
	}
	stderr, err := openSerial(serialStderr)
	if err != nil {
		return err
	}
	result, err := openSerial(serialResult)
	if err != nil {
		return err
	}
	code := c.execute(stdout, stderr)
	stdout.Close() // waits until the host has everything
	stderr.Close()
	fmt.Fprintf(result, "%d\n", code)
	return result.Close()
}

func (c *Command) execute(stdout, stderr io.Writer) int {
	for _, entry := range c.Env { // the command is looked up in the caller's PATH
		if path, ok := strings.CutPrefix(entry, "PATH="); ok {
			os.Setenv("PATH", path)
		}
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir = c.Env, c.Dir
	// Not the files themselves: through a pipe the command sees no terminal.
	cmd.Stdout, cmd.Stderr = struct{ io.Writer }{stdout}, struct{ io.Writer }{stderr}
	cmd.WaitDelay = 2 * time.Second // a daemon that the command left behind may hold the pipes
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return 0
	case errors.As(err, &exit):
		status := exit.Sys().(interface {
			Signaled() bool
			Signal() unix.Signal
		})
		if status.Signaled() {
			fmt.Fprintf(stderr, "command ended by signal: %v\n", status.Signal())
			return 128 + int(status.Signal())
		}
		return exit.ExitCode()
	default:
		fmt.Fprintln(stderr, err)
		return 127
	}
}

// openSerial opens a serial line and switches off all that a terminal does to the bytes.
func openSerial(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read mode of %s: %w", path, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("set mode of %s: %w", path, err)
	}
	return f, nil
}

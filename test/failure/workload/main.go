// Command workload is what a pod on a volume does while servers fail: it holds open files and locks, writes with fsync,
// makes files, renames and directories, and knows of each what was acknowledged and how long it waited.
//
//	workload idle             wait to be called
//	workload run DIR          write, lock and make files below DIR until it is told to stop
//	workload read DIR         open and read a file of DIR again and again: nothing waits to be written back
//	workload contend DIR      try, until told to stop, to take the locks that the writer of DIR holds
//	workload ask QUESTION     to the one that runs here: report, mark (forget the waits so far) or stop (and report)
//	workload csi SOCKET       make the calls to a node plugin that stand on standard input
//	workload verify DIR KIND=N...  of each kind, the first N operations have had their effect
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const socket = "/tmp/workload.sock"

func main() {
	if err := command(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "idle":
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		<-ctx.Done()
		return nil
	case len(args) == 2 && args[0] == "run":
		return run(args[1])
	case len(args) == 2 && args[0] == "read":
		return runReader(args[1])
	case len(args) == 2 && args[0] == "contend":
		return runContender(args[1])
	case len(args) == 2 && args[0] == "ask":
		return ask(args[1])
	case len(args) == 2 && args[0] == "csi":
		return callCSI(args[1])
	case len(args) > 2 && args[0] == "verify":
		acked, err := parseAcked(args[2:])
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		return verify(args[1], acked)
	}
	return fmt.Errorf("usage: workload idle | run DIR | read DIR | contend DIR | ask report|mark|stop | csi SOCKET | verify DIR [KIND=N]")
}

func parseAcked(args []string) (map[string]int64, error) {
	acked := map[string]int64{}
	for _, arg := range args {
		kind, number, _ := strings.Cut(arg, "=")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || kind != "write" && !slices.Contains(madeKinds, kind) {
			return nil, fmt.Errorf("%q is no kind of operation and number", arg)
		}
		acked[kind] = n
	}
	return acked, nil
}

// ask puts a question to the program that runs in this pod, without touching the volume.
func ask(question string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, question); err != nil {
		return err
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// answer serves questions until one is "stop"; it answers that one when the loops have ended.
func answer(j *journal) error {
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		question, _ := io.ReadAll(conn)
		switch string(question) {
		case "mark":
			j.mark()
		case "stop":
			j.stop()
		}
		_ = json.NewEncoder(conn).Encode(j.report())
		_ = conn.Close()
		if string(question) == "stop" {
			return nil
		}
	}
}

// run starts the loops of a writer.
func run(dir string) error {
	j := newJournal()
	w, err := newWriter(dir)
	if err != nil {
		return err
	}
	m, err := newMaker(dir)
	if err != nil {
		return err
	}
	if j.aloud {
		// One after the other: an fsync beside would bring the rest to the disk, too, and hide what is not made durable by itself.
		j.loop(makePause, func() error { return errors.Join(w.once(j), m.once(j)) })
		return answer(j)
	}
	j.loop(writePause, func() error { return w.once(j) })
	j.loop(makePause, func() error { return m.once(j) })
	return answer(j)
}

// runContender starts the loop of the one that must not get a lock.
func runContender(dir string) error {
	j := newJournal()
	c, err := newContender(dir)
	if err != nil {
		return err
	}
	j.loop(contendPause, func() error { return c.once(j) })
	return answer(j)
}

// runReader starts the loop of one that only reads. Each open asks the server.
func runReader(dir string) error {
	j := newJournal()
	name := filepath.Join(dir, "read")
	if err := os.WriteFile(name, record(1), 0o644); err != nil {
		return err
	}
	j.loop(writePause, func() error {
		if _, err := os.ReadFile(name); err != nil {
			return err
		}
		j.acked("read")
		return nil
	})
	return answer(j)
}

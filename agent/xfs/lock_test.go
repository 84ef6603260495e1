package xfs

import (
	"errors"
	"testing"
)

func TestOneAgentWorksOnADisk(t *testing.T) {
	dir := t.TempDir()
	open := func() *Filesystem {
		f, err := Use(dir)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	first, second := open(), open()
	defer second.Close()
	if err := first.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("two agents have the disk: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

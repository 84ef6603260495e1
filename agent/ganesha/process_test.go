package ganesha

import (
	"os"
	"testing"
)

func TestAThreadThatWaitsForTheDiskIsTold(t *testing.T) {
	for stat, want := range map[string]bool{
		"21 (ganesha.nfsd) D 1 21 21 0 -1":    true,
		"21 (ganesha.nfsd) S 1 21 21 0 -1":    false,
		"21 (ganesha.nfsd) T 1 21 21 0 -1":    false, // stopped
		"21 (svc) D (0) S 1 21 21 0 -1":       false, // a name that looks like a state
		"21 (svc) S ) D 1 21 21 0 -1":         true,
		"":                                    false,
		"21 (ganesha.nfsd":                    false,
		"21 (ganesha.nfsd) R 1 D 21 21 0 D 0": false,
	} {
		if got := uninterruptible(stat); got != want {
			t.Errorf("%q: %t", stat, got)
		}
	}
	if waitsForDisk(os.Getpid()) {
		t.Error("this test waits for no disk")
	}
}

package xfs

import (
	"math"
	"testing"
)

// Servers without a limit say that they have more bytes than a number holds.
func TestSpaceOfAServerWithoutLimit(t *testing.T) {
	for _, c := range []struct {
		blocks uint64
		size   int64
		want   int64
	}{{10, 4096, 40960}, {0, 4096, 0}, {1 << 43, 1 << 20, math.MaxInt64}, {math.MaxUint64, 4096, math.MaxInt64}} {
		if got := product(c.blocks, c.size); got != c.want {
			t.Errorf("%d blocks of %d: %d, want %d", c.blocks, c.size, got, c.want)
		}
	}
}

package story

import (
	"fmt"
	"strconv"
	"strings"
)

// parseBeats reads the writer's notes: "<seconds> <number>" for each acknowledged write, FAILED for any other.
func parseBeats(log string) ([]float64, error) {
	var beats []float64
	for line := range strings.Lines(log) {
		if strings.HasPrefix(line, "FAILED") {
			return nil, fmt.Errorf("a write failed: %s", strings.TrimSpace(line))
		}
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return nil, fmt.Errorf("the writer's log has the line %q", line)
		}
		at, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, fmt.Errorf("the writer's log: %w", err)
		}
		beats = append(beats, at)
	}
	return beats, nil
}

func longestGap(beats []float64) float64 {
	longest := 0.0
	for i := 1; i < len(beats); i++ {
		longest = max(longest, beats[i]-beats[i-1])
	}
	return longest
}

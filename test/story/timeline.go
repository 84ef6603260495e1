package story

import (
	"fmt"
	"strings"
)

// Timeline draws acknowledged writes over time: a bar for each slice, a dot where nothing was acknowledged.
func Timeline(beats []float64, width int) string {
	if len(beats) < 2 || width < 1 {
		return ""
	}
	span := beats[len(beats)-1] - beats[0]
	if span <= 0 {
		return ""
	}
	counts := make([]int, width)
	most := 0
	for _, at := range beats {
		slot := min(int((at-beats[0])/span*float64(width)), width-1)
		counts[slot]++
		most = max(most, counts[slot])
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	var line strings.Builder
	for _, n := range counts {
		if n == 0 {
			line.WriteRune('·')
			continue
		}
		line.WriteRune(bars[(n-1)*(len(bars)-1)/max(most-1, 1)])
	}
	return fmt.Sprintf("%s\n0 s%*s\n", line.String(), width-3, fmt.Sprintf("%.1f s (longest gap %.1f s)", span, longestGap(beats)))
}

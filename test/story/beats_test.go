package story

import (
	"strings"
	"testing"
)

func TestParseBeats(t *testing.T) {
	beats, err := parseBeats("10.00 1\n10.50 2\n14.25 3\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(beats) != 3 || longestGap(beats) != 3.75 {
		t.Errorf("beats = %v, longest gap %v", beats, longestGap(beats))
	}
	for name, log := range map[string]string{
		"a failed write is an error": "10.00 1\nFAILED 2 dd: Input/output error\n",
		"a torn line is an error":    "10.00\n",
		"a word is an error":         "ten 1\n",
	} {
		if _, err := parseBeats(log); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTimeline(t *testing.T) {
	beats := []float64{0, 0.5, 1, 1.5, 6, 6.5, 7}
	got := Timeline(beats, 10)
	if lines := strings.Count(got, "\n"); lines != 2 {
		t.Errorf("timeline has %d lines:\n%s", lines, got)
	}
	if !strings.Contains(got, "·") || !strings.Contains(got, "4.5 s") {
		t.Errorf("timeline does not show the gap:\n%s", got)
	}
}

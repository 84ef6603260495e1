package bench

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
)

// Table prints the results: what, measured (with the range of the runs), target, and whether it was reached.
func Table(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "what\tkey\tmeasured\truns\ttarget\t")
	for _, r := range results {
		what := r.How
		if f, ok := Find(r.Key); ok {
			what = f.What
		}
		target, verdict := "-", ""
		if r.Target != nil {
			target = number(*r.Target) + unit(r)
			if verdict = "missed"; r.Reached() {
				verdict = "reached"
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s%s\t%d: %s to %s\t%s\t%s\n", what, r.Key, number(r.Value), unit(r), r.Runs, number(r.Min), number(r.Max), target, verdict)
	}
	return t.Flush()
}

// Reached tells whether the target was. A figure without one has reached it.
func (r Result) Reached() bool {
	switch {
	case r.Target == nil:
		return true
	case r.Better == Higher:
		return r.Value >= *r.Target
	default:
		return r.Value <= *r.Target
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

func unit(r Result) string {
	if r.Unit == "" {
		return ""
	}
	return " " + r.Unit
}

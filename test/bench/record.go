package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// ResultsVariable names the file that Record adds to; hack/bench sets it. Without it results are only logged.
const ResultsVariable = "BENCH_RESULTS"

// Result is one line of bench-results.json.
type Result struct {
	Key    string   `json:"key"`
	Value  float64  `json:"value"` // median of the runs
	Unit   string   `json:"unit"`
	Target *float64 `json:"target,omitempty"`
	Better Better   `json:"better"`
	How    string   `json:"how"`
	Min    float64  `json:"min"`
	Max    float64  `json:"max"`
	Runs   int      `json:"runs"`
}

// MinRuns is how many runs a figure should have.
const MinRuns = 3

// Record writes a figure's runs down: the median counts, the others show how much it varies. how says in a few words what was done,
// on what. A key that is not in the catalogue ends the test.
func Record(tb testing.TB, key, how string, runs ...float64) {
	tb.Helper()
	r, err := newResult(key, how, runs)
	if err != nil {
		tb.Fatal(err)
	}
	if len(runs) < MinRuns {
		tb.Logf("%s has %d runs, it should have %d or more", key, len(runs), MinRuns)
	}
	tb.Logf("%s = %.4g %s (%.4g to %.4g)", key, r.Value, r.Unit, r.Min, r.Max)
	if file := os.Getenv(ResultsVariable); file != "" {
		if err := Merge(file, r); err != nil {
			tb.Fatal(err)
		}
	}
}

func newResult(key, how string, runs []float64) (Result, error) {
	f, ok := Find(key)
	if !ok {
		return Result{}, fmt.Errorf("figure %q is not in the catalogue (test/bench/catalog.go)", key)
	}
	if len(runs) == 0 {
		return Result{}, fmt.Errorf("figure %q has no run", key)
	}
	r := Result{
		Key: key, Unit: f.Unit, Better: f.Better, How: how, Runs: len(runs),
		Value: Percentile(runs, 50), Min: slices.Min(runs), Max: slices.Max(runs),
	}
	if !f.NoTarget {
		r.Target = &f.Target
	}
	return r, nil
}

// Percentile is the value below which so many of 100 samples lie; the median (50) of an even number is the mean of the two in the middle.
func Percentile(samples []float64, percent float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(samples))
	if percent == 50 && len(s)%2 == 0 {
		return (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	i := int(percent / 100 * float64(len(s)))
	return s[min(i, len(s)-1)]
}

// Read reads a results file. One that is not there is empty.
func Read(file string) ([]Result, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(text) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Result
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return all, nil
}

// Merge puts results into the file in place of older ones with the same key. Several programs may do so at once.
func Merge(file string, results ...Result) error {
	lock, err := os.OpenFile(file+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", file, err)
	}
	all, err := Read(file)
	if err != nil {
		return err
	}
	for _, r := range results {
		all = slices.DeleteFunc(all, func(old Result) bool { return old.Key == r.Key })
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b Result) int { return place(a.Key) - place(b.Key) })
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".new")
	if err := os.WriteFile(tmp, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, file)
}

// place is a key's line in the catalogue; what is not there (any more) comes last.
func place(key string) int {
	if i := slices.IndexFunc(figures, func(f Figure) bool { return f.Key == key }); i >= 0 {
		return i
	}
	return len(figures)
}

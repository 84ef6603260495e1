package bench

import (
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestEveryFigureIsThereOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range figures {
		if seen[f.Key] || f.What == "" || f.Better != Lower && f.Better != Higher {
			t.Errorf("figure %+v", f)
		}
		seen[f.Key] = true
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, c := range []struct {
		samples       []float64
		percent, want float64
	}{
		{nil, 50, 0},
		{[]float64{3}, 99, 3},
		{[]float64{3, 1, 2}, 50, 2},
		{[]float64{4, 1, 2, 3}, 50, 2.5},
		{hundred, 99, 100},
		{hundred, 50, 50.5},
	} {
		if got := Percentile(c.samples, c.percent); got != c.want {
			t.Errorf("percentile %v of %v is %v, want %v", c.percent, c.samples, got, c.want)
		}
	}
}

func TestMergeReplacesByKeyAndKeepsTheRest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	var writers sync.WaitGroup
	for _, f := range figures {
		writers.Go(func() {
			r, err := newResult(f.Key, "test", []float64{1, 2, 3})
			if err == nil {
				err = Merge(file, r)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	newer, err := newResult("restart_serving_s", "again", []float64{9, 7, 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := Merge(file, newer); err != nil {
		t.Fatal(err)
	}
	all, err := Read(file)
	if err != nil || len(all) != len(figures) {
		t.Fatalf("%d results, %v", len(all), err)
	}
	for i, r := range all {
		if r.Key != figures[i].Key {
			t.Errorf("line %d is %s, want %s", i, r.Key, figures[i].Key)
		}
		if r.Key == newer.Key && (!reflect.DeepEqual(r, newer) || r.Value != 9 || r.Min != 7 || r.Max != 20) {
			t.Errorf("result %+v", r)
		}
	}
}

func TestTableSaysWhatWasReached(t *testing.T) {
	var out strings.Builder
	err := Table(&out, []Result{mustResult(t, "create_volume_p50_ms", 4), mustResult(t, "pvc_bound_per_s", 30), mustResult(t, "server_rss_mib_0", 20)})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{"measured", "missed", "reached", "20 MiB"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %q, want %q in it", lines[i], want)
		}
	}
	if _, err := newResult("unknown", "", []float64{1}); err == nil {
		t.Error("an unknown key was taken")
	}
}

func mustResult(t *testing.T, key string, value float64) Result {
	t.Helper()
	r, err := newResult(key, "test", []float64{value})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

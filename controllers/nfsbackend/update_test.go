package nfsbackend

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

func TestMaintenanceWindow(t *testing.T) {
	weekend := v1alpha1.MaintenanceWindow{Days: []v1alpha1.Weekday{"Saturday"}, Start: "22:30", DurationMinutes: 180}
	daily := v1alpha1.MaintenanceWindow{Start: "02:00", DurationMinutes: 60}
	for _, test := range []struct {
		window v1alpha1.MaintenanceWindow
		now    string
		want   bool
	}{
		{weekend, "2026-11-21T22:29:59Z", false}, // a Saturday
		{weekend, "2026-11-21T22:30:00Z", true},
		{weekend, "2026-11-22T01:29:59Z", true}, // past midnight
		{weekend, "2026-11-22T01:30:00Z", false},
		{weekend, "2026-11-22T22:45:00Z", false},
		{weekend, "2026-11-22T00:30:00+02:00", true}, // UTC counts
		{daily, "2026-11-18T02:59:59Z", true},
		{daily, "2026-11-18T03:00:00Z", false},
		{v1alpha1.MaintenanceWindow{Start: "12:00", DurationMinutes: 1440}, "2026-11-18T11:59:00Z", true},
	} {
		now, err := time.Parse(time.RFC3339, test.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := open(test.window, now); got != test.want {
			t.Errorf("%v is open at %s: %v", test.window, test.now, got)
		}
	}
}

func TestOneServerAtATime(t *testing.T) {
	var turn turn
	for _, step := range []struct{ ends, endsOf, takes, other string }{
		{takes: "a-0"},
		{takes: "b-0", other: "a-0"},
		{takes: "a-1", other: "a-0"},
		{takes: "a-0"}, // it is replaced once more
		{ends: "b-0", takes: "b-0", other: "a-0"},
		{ends: "a-0", takes: "b-0"},
		{endsOf: "a", takes: "a-0", other: "b-0"},
		{endsOf: "b", takes: "a-0"},
	} {
		if step.ends != "" {
			turn.end(step.ends)
		}
		if step.endsOf != "" {
			turn.endOf(step.endsOf)
		}
		if other := turn.take(step.takes[:1], step.takes); other != step.other {
			t.Errorf("%+v: waits for %q", step, other)
		}
	}
}

func TestServersFollowTheStack(t *testing.T) {
	now := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		version string
		ready   metav1.ConditionStatus
		since   time.Duration
		want    bool
	}{
		"a fresh installation":                   {"", metav1.ConditionUnknown, 0, false},
		"the stack is done":                      {"v2", metav1.ConditionTrue, time.Hour, false},
		"its upgrade has not begun":              {"v1", metav1.ConditionTrue, 24 * time.Hour, true},
		"its upgrade goes on":                    {"v1", metav1.ConditionUnknown, time.Minute, true},
		"its upgrade does not come to an end":    {"v1", metav1.ConditionUnknown, stackPatience, false},
		"it cannot be upgraded without a person": {"v1", metav1.ConditionFalse, time.Hour, false},
	} {
		driver := &v1alpha1.NFSDriver{Status: v1alpha1.NFSDriverStatus{Version: test.version, Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: test.ready, LastTransitionTime: metav1.NewTime(now.Add(-test.since)),
		}}}}
		if got := upgrading(driver, "v2", now); got != test.want {
			t.Errorf("%s: servers wait: %t", name, got)
		}
	}
}

func statusWith(allocated string, serving bool, measured time.Time) v1alpha1.NFSBackendStatus {
	quantity := resource.MustParse(allocated)
	status := v1alpha1.NFSBackendStatus{
		Allocated: &quantity, Shards: []v1alpha1.ShardStatus{{Serving: serving, Allocated: &quantity}},
	}
	if !measured.IsZero() {
		status.Measured = new(metav1.NewTime(measured))
	}
	return status
}

func TestFiguresAreWrittenNowAndThenOnly(t *testing.T) {
	start := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		serving bool // afterwards; true before
		after   time.Duration
		want    string
		again   time.Duration
	}{
		"a moment later":             {true, 10 * time.Second, "1Gi", 20 * time.Second},
		"half a minute later":        {true, 30 * time.Second, "2Gi", 0},
		"together with a transition": {false, time.Second, "2Gi", 0},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := statusWith("1Gi", true, start), statusWith("2Gi", test.serving, start)
			again := throttle(before, &after, start.Add(test.after))
			if after.Allocated.String() != test.want || again != test.again {
				t.Errorf("allocated %s, again in %s", after.Allocated, again)
			}
			if after.Shards[0].Serving != test.serving {
				t.Error("the transition is held back")
			}
		})
	}
	same := statusWith("1Gi", true, start)
	if again := throttle(statusWith("1Gi", true, start), &same, start.Add(time.Hour)); again != 0 || !same.Measured.Time.Equal(start) {
		t.Error("figures that did not change are measured anew")
	}
}

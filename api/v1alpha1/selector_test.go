package v1alpha1

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSelector(t *testing.T) {
	labels := map[string]string{"tier": "gold", "region": "eu"}
	need := func(key string, operator metav1.LabelSelectorOperator, values ...LabelValue) *LabelSelector {
		return &LabelSelector{MatchExpressions: []LabelRequirement{{Key: key, Operator: operator, Values: values}}}
	}
	for _, test := range []struct {
		selector *LabelSelector
		text     string
		want     bool
	}{
		{nil, "", false},
		{&LabelSelector{MatchLabels: map[string]LabelValue{"tier": "gold"}}, "tier=gold", true},
		{&LabelSelector{MatchLabels: map[string]LabelValue{"tier": "gold", "x": "y"}}, "tier=gold,x=y", false},
		{need("tier", "In", "silver", "gold"), "tier in (gold,silver)", true},
		{need("tier", "In", "silver"), "tier in (silver)", false},
		{need("other", "In", "silver"), "other in (silver)", false},
		{need("tier", "NotIn", "gold"), "tier notin (gold)", false},
		{need("other", "NotIn", "gold"), "other notin (gold)", true},
		{need("tier", "Exists"), "tier", true},
		{need("other", "Exists"), "other", false},
		{need("tier", "DoesNotExist"), "!tier", false},
		{need("other", "DoesNotExist"), "!other", true},
	} {
		if got := test.selector.Matches(labels); got != test.want {
			t.Errorf("%s matches: %v, want %v", test.text, got, test.want)
		}
		if test.selector != nil && test.selector.String() != test.text {
			t.Errorf("text %q, want %q", test.selector.String(), test.text)
		}
	}
}

func TestAllowedNamespaces(t *testing.T) {
	rules := &AllowedNamespaces{Names: []string{"shop"}, Selector: &LabelSelector{MatchLabels: map[string]LabelValue{"tier": "gold"}}}
	gold := map[string]string{"tier": "gold"}
	if !(*AllowedNamespaces)(nil).Allows("any", nil) || !rules.Allows("shop", nil) || !rules.Allows("other", gold) || rules.Allows("other", nil) {
		t.Error("absent rules allow all; otherwise a name or the labels do")
	}
}

func TestSelects(t *testing.T) {
	byName := &StorageProfileSpec{BackendRef: BackendReference{Name: "a"}}
	bySelector := &StorageProfileSpec{BackendSelector: &LabelSelector{MatchLabels: map[string]LabelValue{"tier": "gold"}}}
	if !byName.Selects("a", nil) || byName.Selects("b", nil) || bySelector.Selects("", nil) || !bySelector.Selects("b", map[string]string{"tier": "gold"}) {
		t.Error("a backend is selected by its name or by its labels")
	}
}

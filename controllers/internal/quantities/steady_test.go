package quantities

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
)

func TestFiguresAreWrittenWhenTheyHaveChangedEnough(t *testing.T) {
	for _, test := range []struct{ last, now, want string }{
		{"", "", ""},
		{"", "8Gi", "8Gi"},
		{"8Gi", "", ""},
		{"100Gi", "99Gi", "100Gi"},
		{"100Gi", "101Gi", "100Gi"},
		{"100Gi", "95Gi", "95Gi"},
		{"100Gi", "106Gi", "106Gi"},
		{"100Gi", "0", "0"},
		{"0", "1Mi", "1Mi"},
		{"0", "0", "0"},
	} {
		got := Steady(quantity(test.last), quantity(test.now))
		if (got == nil) != (test.want == "") || got != nil && got.String() != test.want {
			t.Errorf("%s after %s is written as %v, want %s", test.now, test.last, got, test.want)
		}
	}
}

func quantity(text string) *resource.Quantity {
	if text == "" {
		return nil
	}
	return new(resource.MustParse(text))
}

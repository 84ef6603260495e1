package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// LabelSelector selects objects by their labels, as metav1.LabelSelector does; all of its requirements must hold. Its
// size is bounded, for it becomes part of an admission policy.
//
// +kubebuilder:validation:XValidation:rule="has(self.matchLabels) || has(self.matchExpressions)",message="an empty selector would match everything: give matchLabels or matchExpressions"
type LabelSelector struct {
	// matchLabels are labels that must be there with these values.
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="a key of matchLabels is no label key"
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`
	// matchExpressions are further requirements.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	MatchExpressions []LabelRequirement `json:"matchExpressions,omitempty"`
}

// LabelValue is the value of a label.
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$`
type LabelValue string

// LabelRequirement relates a label to values.
//
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",message="In and NotIn need values; Exists and DoesNotExist take none"
type LabelRequirement struct {
	// key of the label.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	Key string `json:"key,omitempty"`
	// operator: In and NotIn compare the label's value with values; Exists and DoesNotExist ask only whether it is there.
	// An object without the label matches NotIn.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator,omitempty"`
	// values for In and NotIn.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	Values []LabelValue `json:"values,omitempty"`
}

// Matches tells whether an object with these labels is selected. No selector selects nothing.
func (s *LabelSelector) Matches(set map[string]string) bool {
	if s == nil {
		return false
	}
	for key, value := range s.MatchLabels {
		if have, there := set[key]; !there || have != string(value) {
			return false
		}
	}
	return !slices.ContainsFunc(s.MatchExpressions, func(r LabelRequirement) bool { return !r.matches(set) })
}

func (r *LabelRequirement) matches(set map[string]string) bool {
	value, there := set[r.Key]
	listed := there && slices.Contains(r.Values, LabelValue(value))
	switch r.Operator {
	case metav1.LabelSelectorOpIn:
		return listed
	case metav1.LabelSelectorOpNotIn:
		return !listed
	case metav1.LabelSelectorOpExists:
		return there
	case metav1.LabelSelectorOpDoesNotExist:
		return !there
	}
	return false
}

// String is the selector as kubectl's --selector takes it, in a fixed order.
func (s *LabelSelector) String() string {
	out := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for key, value := range s.MatchLabels {
		out.MatchLabels[key] = string(value)
	}
	for _, r := range s.MatchExpressions {
		requirement := metav1.LabelSelectorRequirement{Key: r.Key, Operator: r.Operator}
		for _, value := range r.Values {
			requirement.Values = append(requirement.Values, string(value))
		}
		out.MatchExpressions = append(out.MatchExpressions, requirement)
	}
	selector, err := metav1.LabelSelectorAsSelector(out)
	if err != nil {
		return labels.Nothing().String()
	}
	return selector.String()
}

// Allows tells whether a namespace with these labels may use the profile. Absent rules allow every namespace.
func (a *AllowedNamespaces) Allows(name string, set map[string]string) bool {
	return a == nil || slices.Contains(a.Names, name) || a.Selector.Matches(set)
}

// Selects tells whether new volumes of the profile may be made on a backend of this name with these labels.
func (s *StorageProfileSpec) Selects(name string, set map[string]string) bool {
	if s.BackendSelector != nil {
		return s.BackendSelector.Matches(set)
	}
	return s.BackendRef.Name == name
}

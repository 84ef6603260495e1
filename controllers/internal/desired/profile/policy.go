package profile

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	admissionv1ac "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// claimClass is the class that a claim asks for. The annotation is older than the field, and still the one that counts
// where both are there (component-helpers, GetPersistentVolumeClaimClass).
const claimClass = "(has(CLAIM.metadata.annotations) && 'volume.beta.kubernetes.io/storage-class' in CLAIM.metadata.annotations" +
	" ? CLAIM.metadata.annotations['volume.beta.kubernetes.io/storage-class']" +
	" : has(CLAIM.spec.storageClassName) ? CLAIM.spec.storageClassName : '')"

const claimSize = "('storage' in CLAIM.spec.resources.requests ? quantity(CLAIM.spec.resources.requests['storage']) : quantity('0'))"

func of(claim, expression string) string { return strings.ReplaceAll(expression, "CLAIM", claim) }

// PolicyName is the name of the policy of a profile and of its binding.
func PolicyName(profile string) string { return "nfs-operator-profile-" + profile }

// Restricted tells whether a profile says who may use it or how, so that it needs a policy.
func Restricted(spec *v1alpha1.StorageProfileSpec) bool { return len(validations(spec, "")) > 0 }

// Policy refuses the claims that a restricted profile does not allow. It has no paramKind: were the CRD of one missing,
// every claim of the cluster would be refused. Its values are in its expressions instead. A claim that is being deleted,
// or whose update touches neither class nor size, is not looked at: binding, resizing and deletion must always go on, also
// when the namespace has lost its label or the profile has become stricter.
func Policy(profile *v1alpha1.StorageProfile) *admissionv1ac.ValidatingAdmissionPolicyApplyConfiguration {
	class := quote(profile.Name)
	chosen := "(oldObject == null || " + of("oldObject", claimClass) + " != " + class + ")"
	grown := "(oldObject != null && " + of("object", claimSize) + ".isGreaterThan(" + of("oldObject", claimSize) + "))"
	return admissionv1ac.ValidatingAdmissionPolicy(PolicyName(profile.Name)).
		WithLabels(generated(profile)).
		WithOwnerReferences(owner(profile)).
		WithSpec(admissionv1ac.ValidatingAdmissionPolicySpec().
			WithFailurePolicy(admissionv1.Fail).
			WithMatchConstraints(admissionv1ac.MatchResources().
				// What the API server would fill in would belong to us, and differ from this for ever.
				WithMatchPolicy(admissionv1.Equivalent).
				WithNamespaceSelector(metav1ac.LabelSelector()).
				WithObjectSelector(metav1ac.LabelSelector()).
				WithResourceRules(admissionv1ac.NamedRuleWithOperations().
					WithAPIGroups(corev1.GroupName).
					WithAPIVersions("v1").
					WithResources("persistentvolumeclaims").
					WithScope(admissionv1.AllScopes).
					WithOperations(admissionv1.Create, admissionv1.Update))).
			WithMatchConditions(
				condition("of-this-class", of("object", claimClass)+" == "+class),
				condition("not-being-deleted", "!has(object.metadata.deletionTimestamp)"),
				condition("new-or-grown", chosen+" || "+grown)).
			// The API server's check of types knows no quantities, and warns of each use of one outside of a variable.
			WithVariables(
				admissionv1ac.Variable().WithName("chosen").WithExpression(chosen),
				admissionv1ac.Variable().WithName("asked").WithExpression("string(object.spec.resources.requests['storage'])"),
				admissionv1ac.Variable().WithName("size").WithExpression(of("object", claimSize))).
			WithValidations(validations(&profile.Spec, profile.Name)...))
}

// PolicyBinding puts the policy in force.
func PolicyBinding(profile *v1alpha1.StorageProfile) *admissionv1ac.ValidatingAdmissionPolicyBindingApplyConfiguration {
	return admissionv1ac.ValidatingAdmissionPolicyBinding(PolicyName(profile.Name)).
		WithLabels(generated(profile)).
		WithOwnerReferences(owner(profile)).
		WithSpec(admissionv1ac.ValidatingAdmissionPolicyBindingSpec().
			WithPolicyName(PolicyName(profile.Name)).
			WithValidationActions(admissionv1.Deny))
}

func condition(name, expression string) *admissionv1ac.MatchConditionApplyConfiguration {
	return admissionv1ac.MatchCondition().WithName(name).WithExpression(expression)
}

// validations are the profile's rules. A message names the rule, and the way out.
func validations(spec *v1alpha1.StorageProfileSpec, profile string) []*admissionv1ac.ValidationApplyConfiguration {
	var rules []*admissionv1ac.ValidationApplyConfiguration
	add := func(expression, message string) {
		rules = append(rules, admissionv1ac.Validation().
			WithExpression(expression).
			WithReason(metav1.StatusReasonForbidden).
			WithMessageExpression(quote("StorageProfile "+profile+": ")+" + "+message))
	}
	if allowed := spec.AllowedNamespaces; allowed != nil {
		add("!variables.chosen || "+namespaceExpression(allowed),
			"'allowedNamespaces: namespace ' + request.namespace + "+quote(
				" may not use it; "+describeNamespaces(allowed)+" may. Use another StorageClass, or ask for the namespace to be allowed"))
	}
	if modes := spec.AccessModes; len(modes) > 0 {
		list := list(modes)
		add("!variables.chosen || object.spec.accessModes.all(m, m in ["+list+"])",
			"'accessModes: ' + object.spec.accessModes.filter(m, !(m in ["+list+"])).join(', ') + "+quote(
				" is not offered; "+join(modes)+" is. Ask for that, or use another StorageClass"))
	}
	if least := spec.MinVolumeSize; least != nil {
		add("!variables.chosen || !variables.size.isLessThan(quantity("+quote(least.String())+"))",
			"'minVolumeSize: ' + variables.asked + "+quote(
				" is less than "+least.String()+". Ask for at least that"))
	}
	if most := spec.MaxVolumeSize; most != nil {
		add("!variables.size.isGreaterThan(quantity("+quote(most.String())+"))",
			"'maxVolumeSize: ' + variables.asked + "+quote(
				" is more than "+most.String()+". Ask for at most that, or use another StorageClass"))
	}
	return rules
}

func namespaceExpression(allowed *v1alpha1.AllowedNamespaces) string {
	var either []string
	if len(allowed.Names) > 0 {
		either = append(either, "request.namespace in ["+list(allowed.Names)+"]")
	}
	if allowed.Selector != nil {
		either = append(either, "("+selectorExpression(allowed.Selector)+")")
	}
	return "(" + strings.Join(either, " || ") + ")"
}

// selectorExpression is a label selector on the namespace.
func selectorExpression(selector *v1alpha1.LabelSelector) string {
	const labels = "namespaceObject.metadata.labels"
	has := func(key string) string { return "(has(" + labels + ") && " + quote(key) + " in " + labels + ")" }
	var all []string
	for _, key := range slices.Sorted(maps.Keys(selector.MatchLabels)) {
		all = append(all, has(key)+" && "+labels+"["+quote(key)+"] == "+quote(string(selector.MatchLabels[key])))
	}
	for _, r := range selector.MatchExpressions {
		listed := has(r.Key) + " && " + labels + "[" + quote(r.Key) + "] in [" + list(r.Values) + "]"
		switch r.Operator {
		case metav1.LabelSelectorOpIn:
			all = append(all, listed)
		case metav1.LabelSelectorOpNotIn:
			all = append(all, "!("+listed+")")
		case metav1.LabelSelectorOpExists:
			all = append(all, has(r.Key))
		case metav1.LabelSelectorOpDoesNotExist:
			all = append(all, "!"+has(r.Key))
		}
	}
	return strings.Join(all, " && ")
}

// describedNames is how many namespaces a message names; the profile has them all.
const describedNames = 8

func describeNamespaces(allowed *v1alpha1.AllowedNamespaces) string {
	var either []string
	if names := allowed.Names; len(names) > 0 {
		shown := names[:min(len(names), describedNames)]
		text := strings.Join(shown, ", ")
		if rest := len(names) - len(shown); rest > 0 {
			text += " and " + strconv.Itoa(rest) + " more"
		}
		either = append(either, text)
	}
	if allowed.Selector != nil {
		either = append(either, "those with the labels "+shorten(allowed.Selector.String()))
	}
	return strings.Join(either, ", and ")
}

// shorten keeps a message within what an API server lets an expression answer (5,120 bytes).
func shorten(text string) string {
	const most = 1024
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}

// quote is a CEL string. Go's quoting of these characters is CEL's as well.
func quote(text string) string { return strconv.QuoteToASCII(text) }

func list[T ~string](values []T) string {
	quoted := make([]string, 0, len(values))
	for _, value := range sorted(values) {
		quoted = append(quoted, quote(string(value)))
	}
	return strings.Join(quoted, ", ")
}

func join[T ~string](values []T) string {
	texts := make([]string, 0, len(values))
	for _, value := range sorted(values) {
		texts = append(texts, string(value))
	}
	return strings.Join(texts, " or ")
}

func sorted[T cmp.Ordered](values []T) []T { return slices.Sorted(slices.Values(values)) }

package validation

import (
	"regexp"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
)

// TestHealthOfArgoCD: what the document has people put into Argo CD says of each of our kinds what its conditions say, in the
// interpreter that Argo CD uses.
func TestHealthOfArgoCD(t *testing.T) {
	document := text(t, "../../docs/gitops.md")
	var config struct{ Data map[string]string }
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(document, -1) {
		if strings.Contains(block[1], "argocd-cm") {
			if err := yaml.Unmarshal([]byte(block[1]), &config); err != nil {
				t.Fatal(err)
			}
		}
	}
	const message = "why it is so"
	for name, test := range map[string]struct {
		set          func(conditions.Setter)
		observed     int64
		want, saying string
	}{
		"new":                      {func(conditions.Setter) {}, 0, "Progressing", "the operator has not looked at it yet"},
		"on its way":               {func(s conditions.Setter) { s.Progressing("Starting", message) }, 2, "Progressing", message},
		"on its way for the first": {func(s conditions.Setter) { s.Progressing("ApplyFailed", message) }, 0, "Progressing", message},
		"ready":                    {func(s conditions.Setter) { s.Ready("Serving", message) }, 2, "Healthy", message},
		"ready before the edit":    {func(s conditions.Setter) { s.Ready("Serving", message) }, 1, "Progressing", message},
		"waiting for a person":     {func(s conditions.Setter) { s.Stalled("DeviceNotBlank", message) }, 2, "Degraded", message},
		"paused": {func(s conditions.Setter) {
			s.Ready("Serving", "1 of 1 servers serve")
			s.Set(v1alpha1.ConditionPaused, true, "Paused", message)
		}, 1, "Suspended", message},
	} {
		backend := v1alpha1.NFSBackend{ObjectMeta: metav1.ObjectMeta{Name: "shared", Generation: 2}}
		backend.Status.ObservedGeneration = test.observed
		test.set(conditions.Setter{Conditions: &backend.Status.Conditions, Generation: 2})
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&backend)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"NFSBackend", "StorageProfile", "NFSDriver"} {
			script := config.Data["resource.customizations.health.storage.nfs-operator.io_"+kind]
			status, saying := health(t, script, object)
			if status != test.want || saying != test.saying {
				t.Errorf("%s %s: %s (%q), should be %s (%q)", kind, name, status, saying, test.want, test.saying)
			}
		}
	}
}

// health runs a script as Argo CD does: with the object in a global variable, and few libraries.
func health(t *testing.T, script string, object map[string]any) (status, message string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", toLua(t, state, object))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returns %v", state.Get(-1))
	}
	return answer.RawGetString("status").String(), answer.RawGetString("message").String()
}

func toLua(t *testing.T, state *lua.LState, value any) lua.LValue {
	t.Helper()
	switch value := value.(type) {
	case nil:
		return lua.LNil
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(t, state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for name, item := range value {
			table.RawSetString(name, toLua(t, state, item))
		}
		return table
	default:
		t.Fatalf("a status has a %T", value)
		return nil
	}
}

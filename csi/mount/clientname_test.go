package mount

import (
	"strings"
	"testing"
)

func TestClientName(t *testing.T) {
	const uid = "7952b271-83ea-4d01-8463-ed567a7ee159"
	for node, want := range map[string]string{
		"node-1":                       "node-1-" + uid,
		"":                             uid,
		strings.Repeat("a", 253):       strings.Repeat("a", 27) + "-" + uid,
		"ip-10-0-0-1.example.internal": "ip-10-0-0-1.example.interna-" + uid,
	} {
		got := ClientName(node, uid)
		if got != want {
			t.Errorf("%.30s: %s, want %s", node, got, want)
		}
		if len(got) > maxHostname || strings.Contains(got, "/") {
			t.Errorf("%s is no name for a host, or one that Ganesha forgets", got)
		}
	}
}

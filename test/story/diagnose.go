package story

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Diagnose collects what explains a failure in k's namespace: conditions, pods, events and the logs of our own pods.
func (k Kubectl) Diagnose() string {
	// The caller's context may be cancelled; this must still work.
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	ns := names.DefaultNamespace
	var b strings.Builder
	show := func(args ...string) {
		out, err := k.Run(ctx, args...)
		if err != nil {
			out += "\n" + err.Error()
		}
		fmt.Fprintf(&b, "\n$ kubectl %s\n%s\n", strings.Join(args, " "), strings.TrimSpace(out))
	}
	show("get", "nodes,nfsbackend,storageprofile,nfsdriver,storageclass,csidriver", "-o", "wide")
	show("get", "nfsbackend,storageprofile,nfsdriver", "-o",
		`jsonpath={range .items[*]}{.kind}/{.metadata.name}:{range .status.conditions[*]}{"\n  "}{.type}={.status} {.reason}: {.message}{end}{"\n"}{end}`)
	show("get", "pvc,pods", "-o", "wide")
	show("-n", ns, "get", "pods,pvc,statefulset,deployment,daemonset,service", "-o", "wide")
	show("get", "events", "-A", "--sort-by=.lastTimestamp")
	pods, err := k.Run(ctx, "-n", ns, "get", "pods", "-o", "name")
	if err == nil {
		for pod := range strings.FieldsSeq(pods) {
			show("-n", ns, "logs", pod, "--all-containers", "--prefix", "--tail=40")
		}
	}
	return b.String()
}

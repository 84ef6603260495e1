//go:build e2e

package e2e

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// privileged gives a pod all rights that a pod can have, to mount by hand; in the network of its node, or in its own.
func privileged(host bool) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		yes := true
		s.HostNetwork = host
		s.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes}
	}
}

// mountByHand mounts a path of a server in a privileged pod, runs a script with it at /mnt, and unmounts it. It returns what they said,
// refusals included.
func (e *env) mountByHand(pod, address, path, script string) string {
	e.t.Helper()
	return e.shell(pod, fmt.Sprintf(`mkdir -p /mnt
mount -t nfs4 -o vers=4.2,soft,timeo=100,retrans=2,addr=%[1]s,clientaddr=$(hostname -i | cut -d' ' -f1) %[1]s:%[2]s /mnt 2>&1 && { %[3]s; umount /mnt; } 2>&1 || true`, address, path, script))
}

// refusesMount tells whether a server refused what mountByHand reports, instead of not being reached at all.
func refusesMount(said string) bool {
	return strings.Contains(said, "No such file") || strings.Contains(said, "denied") || strings.Contains(said, "not permitted")
}

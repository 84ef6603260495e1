package server

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestTheServersRightsAreDocumented compares docs/server-pod.md with the pod: a capability is not to be added without a reason, nor
// kept without one.
func TestTheServersRightsAreDocumented(t *testing.T) {
	expectDocumented(t, "server-pod.md", testShard())
}

// TestWhatAMountedDiskNeedsIsDocumented is about the rights that only a disk with volumeMode Filesystem needs.
func TestWhatAMountedDiskNeedsIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/server-pod.md")
	if err != nil {
		t.Fatal(err)
	}
	has := podSpec(mountedShard()).Containers[0].SecurityContext.Capabilities.Add
	if !slices.Equal(has, slices.Concat(capabilities, mountedCapabilities)) {
		t.Errorf("the pod has %v", has)
	}
	for _, c := range mountedCapabilities {
		if slices.Contains(capabilities, c) || !regexp.MustCompile("(?m)^Only with `volumeMode: Filesystem`.*`"+string(c)+"`").Match(text) {
			t.Errorf("%s is not documented as one for volumeMode Filesystem only", c)
		}
	}
}

// TestTheExternalAgentsRightsAreDocumented does the same for the pod that manages a share.
func TestTheExternalAgentsRightsAreDocumented(t *testing.T) {
	expectDocumented(t, "external.md", externalShard())
}

func expectDocumented(t *testing.T, document string, shard Shard) {
	t.Helper()
	text, err := os.ReadFile("../../../../docs/" + document)
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \\|").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, regexp.MustCompile("[A-Z_]+").FindAllString(row[1], -1)...)
	}
	spec := podSpec(shard)
	container := spec.Containers[0]
	var has []string
	for _, c := range container.SecurityContext.Capabilities.Add {
		has = append(has, string(c))
	}
	slices.Sort(documented)
	slices.Sort(has)
	if !slices.Equal(documented, has) {
		t.Errorf("documented %v, the pod has %v", documented, has)
	}
	security := container.SecurityContext
	for what, right := range map[string]bool{
		"drops all":             len(security.Capabilities.Drop) == 1 && security.Capabilities.Drop[0] == "ALL",
		"read-only root":        *security.ReadOnlyRootFilesystem,
		"not privileged":        security.Privileged == nil || !*security.Privileged,
		"seccomp":               *spec.SecurityContext.SeccompProfile.Type == "RuntimeDefault",
		"no token":              !*spec.AutomountServiceAccountToken,
		"no network of a node":  spec.HostNetwork == nil,
		"no processes of nodes": spec.HostPID == nil,
		"one container":         len(spec.Containers) == 1 && len(spec.InitContainers) == 0,
	} {
		if !right {
			t.Errorf("not as documented: %s", what)
		}
	}
}

// TestTheServerStartsWithoutDNS: only the agent of a share has names to ask for.
func TestTheServerStartsWithoutDNS(t *testing.T) {
	spec := podSpec(testShard())
	if spec.DNSPolicy == nil || *spec.DNSPolicy != "None" || !slices.Equal(spec.DNSConfig.Nameservers, []string{"127.0.0.1"}) {
		t.Errorf("DNS policy %v, configuration %+v", spec.DNSPolicy, spec.DNSConfig)
	}
	if spec := podSpec(externalShard()); spec.DNSPolicy != nil {
		t.Errorf("the pod of a share has DNS policy %s", *spec.DNSPolicy)
	}
}

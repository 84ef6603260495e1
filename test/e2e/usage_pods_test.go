//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/story"
)

// TestFSGroup: the volume belongs to the pod's group; where its root does so already, its files are left alone; a pod
// with another group gets all files.
func TestFSGroup(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	as := func(group int64) func(*corev1.PodSpec) {
		user, policy := int64(1000), corev1.FSGroupChangeOnRootMismatch
		return func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &user, RunAsGroup: &user, FSGroup: &group, FSGroupChangePolicy: &policy}
		}
	}
	group := func(pod, want, why string) {
		t.Helper()
		if got := e.shell(pod, "stat -c %g /data/file"); got != want {
			t.Errorf("%s: the file's group is %s, want %s", why, got, want)
		}
	}
	e.create(newClaim("data"), newPod("first", "data", as(2000)))
	e.ready("first")
	if got := e.shell("first", "touch /data/file && stat -c %u /data/file && stat -c '%g %A' /data"); got != "1000\n2000 drwxrwsrwx" {
		t.Errorf("a file's user, and the root's group and mode: %q", got)
	}
	group("first", "2000", "a new file")
	e.do("delete", "pod", "first", "--timeout=600s")
	// A file of another group shows whether somebody walks.
	e.server("chgrp 4000 /data/by-claim/" + e.Namespace + "/data/file")
	e.create(newPod("second", "data", as(2000)))
	e.ready("second")
	group("second", "4000", "the root is right")
	e.do("delete", "pod", "second", "--timeout=600s")
	e.create(newPod("third", "data", as(3000)))
	e.ready("third")
	group("third", "3000", "another group")
}

func TestSubPath(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create(newClaim("data"), newPod("a", "data", func(s *corev1.PodSpec) {
		s.Containers[0].VolumeMounts[0].SubPath = "web/html"
		second := *s.Containers[0].DeepCopy()
		second.Name, second.VolumeMounts[0].SubPath = "other", "logs"
		s.Containers = append(s.Containers, second)
	}))
	e.ready("a")
	e.do("exec", "a", "-c", "shell", "--", "sh", "-c", "echo page > /data/index.html")
	e.do("exec", "a", "-c", "other", "--", "sh", "-c", "echo line > /data/log")
	if got := e.server("cd /data/by-claim/" + e.Namespace + "/data/ && find . -type f | sort && cat web/html/index.html"); got != "./logs/log\n./web/html/index.html\npage" {
		t.Errorf("on the server: %q", got)
	}
	e.do("delete", "pod", "a", "--timeout=600s")
}

// TestStatefulSet scales 0-3-0-3: each replica finds its own volume again.
func TestStatefulSet(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.apply(fmt.Sprintf(`apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 0
  podManagementPolicy: Parallel
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: shell
        image: %s
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "hostname >> /data/starts && touch /tmp/written && exec sleep infinity"]
        # A container counts as ready as soon as it runs: one that is killed before its line is written has lost nothing.
        readinessProbe: {exec: {command: [test, -e, /tmp/written]}, periodSeconds: 2, timeoutSeconds: 30}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      storageClassName: %s
      accessModes: [ReadWriteOncePod]
      resources: {requests: {storage: 32Mi}}
`, story.TestImage, story.Class))
	scale := func(n string) {
		e.do("scale", "statefulset", "db", "--replicas="+n)
		if n != "0" {
			e.await(n+" replicas are ready", is(n), "get", "statefulset", "db", "-o", "jsonpath={.status.readyReplicas}")
			return
		}
		e.await("no pod is left", is(""), "get", "pods", "-l", "app=db", "-o", "name")
	}
	scale("3")
	scale("0")
	if claims := strings.Fields(e.do("get", "pvc", "-o", "name")); len(claims) != 3 {
		t.Errorf("scaled to 0, the set has the claims %v, want 3", claims)
	}
	scale("3")
	for i := range 3 {
		pod := fmt.Sprintf("db-%d", i)
		if got := e.shell(pod, "cat /data/starts"); got != pod+"\n"+pod {
			t.Errorf("the volume of %s has seen the starts of %q", pod, got)
		}
	}
}

func TestGenericEphemeralVolume(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create(newPod("a", "", withVolume("/data", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: newClaim("").Spec},
	}})))
	e.ready("a")
	e.shell("a", "echo scratch > /data/file")
	pv := e.bound("a-data")
	e.do("delete", "pod", "a", "--timeout=600s")
	e.do("wait", "--for=delete", "--timeout=600s", "pvc/a-data")
	e.do("wait", "--for=delete", "--timeout=600s", "pv/"+pv)
}

// TestInlineVolumeRefused: a volume of our driver written into a pod would let whoever writes pods mount any volume.
func TestInlineVolumeRefused(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create(newPod("a", "", withVolume("/data", corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: names.Driver, VolumeAttributes: map[string]string{"volumeHandle": story.Backend + "/0/aaaaaaaaaaaaaaaa"},
	}})))
	e.event("pod/a", "Ephemeral")
	if phase := e.get("pod/a", "{.status.phase}"); phase != "Pending" {
		t.Errorf("the pod is %s", phase)
	}
	e.do("delete", "pod", "a", "--timeout=600s")
}

// TestManyWriters is a Job of 20 pods at once on both nodes; each writes a file and a line to a common file, under a
// lock, and ends well only when it has seen all others' files in full.
func TestManyWriters(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create(newClaim("data"))
	e.apply(fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata: {name: writers}
spec:
  completions: 20
  parallelism: 20
  completionMode: Indexed
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: writer
        image: %s
        imagePullPolicy: IfNotPresent
        command:
        - sh
        - -c
        - |
          set -e
          me=$JOB_COMPLETION_INDEX
          cd /data
          yes "$me" | head -n 10000 > "tmp-$me"
          mv "tmp-$me" "done-$me"
          flock lock sh -c "echo $me >> common"
          until [ "$(ls | grep -c ^done-)" = 20 ]; do sleep 1; done
          for i in $(seq 0 19); do
            awk -v i="$i" '$0 != i {exit 1} END {if (NR != 10000) exit 1}' "done-$i" || { echo "pod $me reads another done-$i than was written"; exit 1; }
          done
        volumeMounts: [{name: data, mountPath: /data}]
      volumes:
      - name: data
        persistentVolumeClaim: {claimName: data}
`, story.TestImage))
	e.await("all 20 pods have ended", func(got string) bool {
		if strings.HasSuffix(got, "/") {
			return strings.TrimSuffix(got, "/") == "20"
		}
		e.t.Fatalf("a pod failed: %s", got)
		return false
	}, "get", "job", "writers", "-o", "jsonpath={.status.succeeded}/{.status.failed}")
	if got := e.server("sort -n /data/by-claim/" + e.Namespace + "/data/common | tr '\\n' ' '"); got != "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19" {
		t.Errorf("the common file has the lines %q", got)
	}
}

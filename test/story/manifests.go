package story

import "fmt"

// TestImage has a shell, dd, df and sha256sum.
const TestImage = "docker.io/library/busybox:1.36"

func claimManifest(size string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: %s
spec:
  storageClassName: %s
  accessModes: [ReadWriteMany]
  resources:
    requests:
      storage: %s
`, claim, Class, size)
}

// podManifest is a pod that waits; two of them never share a node.
func podManifest(name string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
  labels: {story: demo}
spec:
  terminationGracePeriodSeconds: 1
  affinity:
    podAntiAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector: {matchLabels: {story: demo}}
  containers:
  - name: shell
    image: %s
    imagePullPolicy: IfNotPresent
    command: [sleep, infinity]
    volumeMounts:
    - {name: data, mountPath: /data}
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: %s}
`, name, TestImage, claim)
}

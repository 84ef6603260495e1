package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// kubectl is the program together with the cluster that it talks to.
type kubectl struct{ program, kubeconfig string }

func (c *cluster) kubectl(bin string) kubectl {
	return kubectl{filepath.Join(bin, "kubectl"), c.kubeconfig()}
}

func (k kubectl) run(ctx context.Context, stdin []byte, args ...string) (string, error) {
	return output(ctx, stdin, k.program, append([]string{"--kubeconfig", k.kubeconfig}, args...)...)
}

// apply makes the cluster's objects equal to the documents.
func (k kubectl) apply(ctx context.Context, documents string) error {
	_, err := k.run(ctx, []byte(documents), "apply", "--server-side", "--force-conflicts", "-f", "-")
	return err
}

// installAddons installs what a cluster's administrator would have installed. Nothing here waits for a node.
func (c *cluster) installAddons(ctx context.Context, k kubectl) error {
	dns, err := render("coredns.yaml", map[string]string{"Image": corednsImage, "ClusterIP": dnsIP})
	if err != nil {
		return err
	}
	controller, err := render("snapshot-controller.yaml", map[string]string{"Image": sidecarImages["snapshot-controller"]})
	if err != nil {
		return err
	}
	storage, err := c.storage()
	if err != nil {
		return err
	}
	snapshots, err := snapshotManifests(ctx)
	if err != nil {
		return err
	}
	return k.apply(ctx, strings.Join([]string{snapshots, dns, controller, storage}, "\n---\n"))
}

// snapshotManifests are the CRDs and the roles that the snapshot controller's own project ships.
func snapshotManifests(ctx context.Context) (string, error) {
	client, err := moduleDir(ctx, "github.com/kubernetes-csi/external-snapshotter/client/v8")
	if err != nil {
		return "", err
	}
	controller, err := moduleDir(ctx, "github.com/kubernetes-csi/external-snapshotter/v8")
	if err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(client, "config", "crd", "*snapshot*.yaml"))
	if err != nil {
		return "", err
	}
	files = append(files, filepath.Join(controller, "deploy", "kubernetes", "snapshot-controller", "rbac-snapshot-controller.yaml"))
	var documents []string
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		documents = append(documents, string(content))
	}
	return strings.Join(documents, "\n---\n"), nil
}

// storage offers each raw disk of each node as a local volume, and the shared one as a volume of all nodes.
func (c *cluster) storage() (string, error) {
	type disk struct{ Name, Size, Device, Node string }
	var disks []disk
	for n := 1; n <= c.Nodes; n++ {
		for i := range c.Disks {
			device := fmt.Sprintf("ubd%c", 'b'+i)
			disks = append(disks, disk{nodeName(n) + "-" + device, c.DiskSize + "i", "/dev/" + device, nodeName(n)})
		}
	}
	shared := ""
	if c.Shared != "" {
		shared = c.Shared + "i"
	}
	return render("storage.yaml", map[string]any{"Disks": disks, "Shared": shared, "SharedDevice": sharedDevice})
}

// finishNodes tells Kubernetes the pod networks, which the nodes have had since they started.
func (c *cluster) finishNodes(ctx context.Context, k kubectl) error {
	for n := 1; n <= c.Nodes; n++ {
		patch := fmt.Sprintf(`{"spec":{"podCIDR":%q,"podCIDRs":[%q]}}`, nodePodCIDR(n), nodePodCIDR(n))
		if _, err := k.run(ctx, nil, "patch", "node", nodeName(n), "-p", patch); err != nil {
			return err
		}
	}
	return nil
}

func waitForAddons(ctx context.Context, k kubectl) error {
	for _, deployment := range []string{"coredns", "snapshot-controller"} {
		if err := waitFor(ctx, 3*time.Minute, deployment, func() error {
			_, err := k.run(ctx, nil, "-n", "kube-system", "rollout", "status", "deployment", deployment, "--timeout=5s")
			return err
		}); err != nil {
			pods, _ := k.run(ctx, nil, "-n", "kube-system", "get", "pods,events")
			return fmt.Errorf("%w\n%s", err, pods)
		}
	}
	return nil
}

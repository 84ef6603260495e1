package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"text/template"
)

//go:embed templates
var templates embed.FS

// render fills in one of the templates.
func render(name string, values any) (string, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(templates, "templates/"+name)
	if err != nil {
		return "", fmt.Errorf("parse template %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, values); err != nil {
		return "", fmt.Errorf("fill template %s: %w", name, err)
	}
	return out.String(), nil
}

// nodeFiles are the configuration files of a node.
func (c *cluster) nodeFiles(n int) (map[string]string, error) {
	values := map[string]string{
		"DNS": dnsIP, "PodCIDR": nodePodCIDR(n), "Pause": pauseImage, "Address": nodeIP(n),
	}
	files := map[string]string{
		"/etc/hostname":    nodeName(n) + "\n",
		"/etc/hosts":       fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", nodeIP(n), nodeName(n)),
		"/etc/resolv.conf": "# A node of the test cluster: there is nothing outside to resolve.\n",
	}
	for path, name := range map[string]string{
		"/etc/containerd/config.toml":       "containerd.toml",
		"/etc/kubernetes/kubelet.yaml":      "kubelet.yaml",
		"/etc/cni/net.d/10-bridge.conflist": "cni.json",
	} {
		text, err := render(name, values)
		if err != nil {
			return nil, err
		}
		files[path] = text
	}
	for path, source := range map[string]string{
		"/etc/kubernetes/kubelet.conf":    nodeName(n) + ".kubeconfig",
		"/etc/kubernetes/kube-proxy.conf": "kube-proxy.kubeconfig",
		"/etc/kubernetes/ca.crt":          "ca.crt",
		"/etc/kubernetes/kubelet.crt":     nodeName(n) + ".crt",
		"/etc/kubernetes/kubelet.key":     nodeName(n) + ".key",
	} {
		content, err := os.ReadFile(c.pki(source))
		if err != nil {
			return nil, err
		}
		files[path] = string(content)
	}
	return files, nil
}

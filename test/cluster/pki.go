package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// identity is what a certificate says about its holder: to Kubernetes, the common name is the user, the organisation the group.
type identity struct {
	user, group string
	names       []string // DNS names and addresses under which it serves
}

func (c *cluster) identities() map[string]identity {
	all := map[string]identity{
		"apiserver": {user: "kube-apiserver", names: []string{
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
			"localhost", "127.0.0.1", kubernetesIP, controlPlaneIP, c.apiServerIP(),
		}},
		"apiserver-kubelet-client": {user: "kube-apiserver-kubelet-client", group: "system:masters"},
		"admin":                    {user: "admin", group: "system:masters"},
		"controller-manager":       {user: "system:kube-controller-manager"},
		"scheduler":                {user: "system:kube-scheduler"},
		"kube-proxy":               {user: "system:kube-proxy"},
	}
	for n := 1; n <= c.Nodes; n++ {
		all[nodeName(n)] = identity{user: "system:node:" + nodeName(n), group: "system:nodes", names: []string{nodeName(n), nodeIP(n)}}
	}
	return all
}

// ensurePKI makes the certificates and kubeconfig files that are missing.
func (c *cluster) ensurePKI() error {
	if err := os.MkdirAll(c.path("pki"), 0o700); err != nil {
		return err
	}
	ca, caKey, err := c.ensureCA()
	if err != nil {
		return err
	}
	for name, id := range c.identities() {
		if _, err := os.Stat(c.pki(name + ".crt")); err == nil {
			continue
		}
		if err := c.issue(name, id, ca, caKey); err != nil {
			return fmt.Errorf("make certificate %s: %w", name, err)
		}
	}
	if _, err := os.Stat(c.pki("service-account.key")); errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		if err := writeKey(c.pki("service-account.key"), key); err != nil {
			return err
		}
	}
	return c.writeKubeconfigs()
}

func (c *cluster) ensureCA() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	if cert, key, err := readPair(c.pki("ca")); err == nil {
		return cert, key, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := certificate("nfs-operator test cluster " + c.Name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	if err := writeKey(c.pki("ca.key"), key); err != nil {
		return nil, nil, err
	}
	if err := writePEM(c.pki("ca.crt"), "CERTIFICATE", der); err != nil {
		return nil, nil, err
	}
	return readPair(c.pki("ca"))
}

func (c *cluster) issue(name string, id identity, ca *x509.Certificate, caKey *ecdsa.PrivateKey) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := certificate(id.user)
	if id.group != "" {
		template.Subject.Organization = []string{id.group}
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for _, n := range id.names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	if err := writeKey(c.pki(name+".key"), key); err != nil {
		return err
	}
	return writePEM(c.pki(name+".crt"), "CERTIFICATE", der)
}

func certificate(commonName string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: commonName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
	}
}

func readPair(base string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certPEM, err := os.ReadFile(base + ".crt")
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(base + ".key")
	if err != nil {
		return nil, nil, err
	}
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, nil, fmt.Errorf("%s: not PEM", base)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	return cert, key, err
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return writeFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// writeKubeconfigs writes one file for each client: the administrator's goes to the machine's side of the cluster, the others
// stay inside.
func (c *cluster) writeKubeconfigs() error {
	inside := "https://" + controlPlaneIP + ":6443"
	files := map[string][2]string{c.kubeconfig(): {"admin", c.apiServerURL()}}
	for _, client := range []string{"controller-manager", "scheduler", "kube-proxy"} {
		files[c.pki(client+".kubeconfig")] = [2]string{client, inside}
	}
	for n := 1; n <= c.Nodes; n++ {
		files[c.pki(nodeName(n)+".kubeconfig")] = [2]string{nodeName(n), inside}
	}
	for path, client := range files {
		text, err := c.kubeconfigText(client[0], client[1])
		if err != nil {
			return err
		}
		if err := writeFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) kubeconfigText(client, server string) (string, error) {
	var data [3]string
	for i, file := range []string{"ca.crt", client + ".crt", client + ".key"} {
		content, err := os.ReadFile(c.pki(file))
		if err != nil {
			return "", err
		}
		data[i] = base64.StdEncoding.EncodeToString(content)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %[1]s
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[2]s}
clusters:
- name: %[1]s
  cluster: {server: "%[3]s", certificate-authority-data: %[4]s}
users:
- name: %[2]s
  user: {client-certificate-data: %[5]s, client-key-data: %[6]s}
`, c.Name, client, server, data[0], data[1], data[2]), nil
}

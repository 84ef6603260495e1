package pki

import "bytes"

// Trusting is the same authority with a bundle that holds others as well: its successor, before that signs, and its
// predecessor, as long as there are certificates of that. Certificates that cannot be read are left out.
func (a *Authority) Trusting(others ...[]byte) *Authority {
	trusting := *a
	trusting.pem = bytes.Clone(a.pem)
	for _, other := range others {
		if _, err := ParseCertificate(other); err == nil && !bytes.Equal(other, a.pem) {
			trusting.pem = append(trusting.pem, other...)
		}
	}
	return &trusting
}

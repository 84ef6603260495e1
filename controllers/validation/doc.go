// Package validation holds the tests of what the API server itself refuses: the CEL rules of the CRDs, and the admission
// policies in config/admission.
package validation

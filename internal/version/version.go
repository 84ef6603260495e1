// Package version says which build of nfs-operator this is.
package version

// Version is set at link time (-ldflags -X).
var Version = "dev"

module github.com/nfs-operator/nfs-operator/test/cluster

go 1.26.0

require golang.org/x/sys v0.48.0

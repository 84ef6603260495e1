// Package skips makes a run of csi-sanity fail when it skips what the driver says it can do.
package skips

import (
	"fmt"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
)

// reasons are the messages of skips that are right, for each is about a capability that the driver does not
// advertise; the comment says why not.
var reasons = []string{
	// Nothing is attached: a node mounts from a server (CSIDriver.spec.attachRequired is false).
	"ControllerPublishVolume not supported",
	"ControllerUnpublishVolume not supported",
	"Controller Publish, UnpublishVolume not supported",
	// The server's quota is the size: nothing is to be done on a node.
	"NodeExpandVolume not supported",
	// Snapshots can be used from every node.
	"SNAPSHOT_ACCESSIBILITY_CONSTRAINTS not supported",
	// Snapshots of several volumes at one moment are not offered.
	"GroupControllerService not supported",
	// Alpha in version 1.13 of the specification.
	"ControllerGetVolumeHealth not supported",
	"ControllerListVolumeHealth not supported",
	"NodeGetVolumeHealth not supported",
	"NodeGetStorageHealth not supported",
}

// Forbid is called before the suite runs.
func Forbid() {
	ginkgo.ReportAfterSuite("nothing is skipped that applies", func(report ginkgo.Report) {
		for _, spec := range report.SpecReports {
			if spec.State == types.SpecStateSkipped && !slices.Contains(reasons, spec.Failure.Message) {
				ginkgo.Fail(fmt.Sprintf("%q was skipped: %s", spec.FullText(), spec.Failure.Message))
			}
		}
	})
}

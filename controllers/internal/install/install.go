// Package install answers whether this operator is the one that owns the cluster's driver. Custom resources are
// cluster-wide and leases are not, so two installations in two namespaces would fight without noticing.
package install

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// DriverName is the name of the only NFSDriver.
const DriverName = "default"

// Interval is how often a controller that may not act looks again whether it may.
const Interval = 2 * time.Second

// State is whose the driver is.
type State int

const (
	// Unclaimed means that nobody has claimed it yet: wait.
	Unclaimed State = iota
	// Ours means: go on.
	Ours
	// Foreign means that another installation owns it: stand aside.
	Foreign
)

// Claim is the claim of one installation, by its namespace.
type Claim struct {
	Client    client.Reader
	Namespace string
}

// State reads the claim on NFSDriver/default.
func (c Claim) State(ctx context.Context) (State, error) {
	driver, err := c.driver(ctx)
	return c.Of(driver), err
}

// driver is empty where there is none.
func (c Claim) driver(ctx context.Context) (*v1alpha1.NFSDriver, error) {
	driver := &v1alpha1.NFSDriver{}
	err := c.Client.Get(ctx, client.ObjectKey{Name: DriverName}, driver)
	if client.IgnoreNotFound(err) != nil {
		return &v1alpha1.NFSDriver{}, fmt.Errorf("get NFSDriver %s: %w", DriverName, err)
	}
	return driver, nil
}

// Of is whose the given driver is.
func (c Claim) Of(driver *v1alpha1.NFSDriver) State {
	switch driver.Status.InstallNamespace {
	case "":
		return Unclaimed
	case c.Namespace:
		return Ours
	default:
		return Foreign
	}
}

// Check is a readiness check: an installation that stands aside is not ready, and says why.
func (c Claim) Check(r *http.Request) error {
	driver, err := c.driver(r.Context())
	if err == nil && c.Of(driver) == Foreign {
		return fmt.Errorf("NFSDriver %s belongs to the installation in namespace %s, so the one in %s stands aside: remove one of the two",
			DriverName, driver.Status.InstallNamespace, c.Namespace)
	}
	return err
}

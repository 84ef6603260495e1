// Package registration registers a CSI driver with the kubelet, which watches a directory for sockets that speak the
// plugin registration API: https://pkg.go.dev/k8s.io/kubelet/pkg/apis/pluginregistration/v1
package registration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// patience is how long the kubelet may take to ask who we are. A kubelet that does not has missed our socket; a
// restart makes it anew.
const patience = 2 * time.Minute

// csiVersions are the versions of the CSI services, as the kubelet knows them; all of 1.x are "1.0.0".
var csiVersions = []string{"1.0.0"}

// Server answers the kubelet.
type Server struct {
	registerapi.UnimplementedRegistrationServer

	driver   string
	endpoint string
	now      func() time.Time
	started  time.Time

	mu         sync.Mutex
	asked      bool
	registered bool
	refused    chan error
}

// New makes the registration of a driver whose socket is endpoint.
func New(driver, endpoint string) *Server {
	return &Server{driver: driver, endpoint: endpoint, now: time.Now, started: time.Now(), refused: make(chan error, 1)}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(server *grpc.Server) { registerapi.RegisterRegistrationServer(server, s) }

// GetInfo implements the registration API.
func (s *Server) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = true
	return &registerapi.PluginInfo{
		Type: registerapi.CSIPlugin, Name: s.driver, Endpoint: s.endpoint, SupportedVersions: csiVersions,
	}, nil
}

// NotifyRegistrationStatus implements the registration API.
func (s *Server) NotifyRegistrationStatus(_ context.Context, st *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registered = st.GetPluginRegistered()
	if !s.registered {
		select {
		case s.refused <- fmt.Errorf("kubelet refuses the driver: %s", st.GetError()):
		default:
		}
	}
	return &registerapi.RegistrationStatusResponse{}, nil
}

// Refused waits until the kubelet refuses the driver. The process should end then: its successor registers anew.
func (s *Server) Refused(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.refused:
		return err
	}
}

// Live is an error when the kubelet has not noticed us in time.
func (s *Server) Live() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asked && s.now().Sub(s.started) > patience {
		return fmt.Errorf("kubelet has not asked for the driver's name in %s", patience)
	}
	return nil
}

// Ready is an error until the kubelet has accepted the driver.
func (s *Server) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.registered {
		return errors.New("not registered with the kubelet")
	}
	return nil
}

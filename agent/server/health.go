package server

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nfs-operator/nfs-operator/agent/ganesha"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func (s *Server) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", s.live)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	return mux
}

// liveTimeout leaves time to say why: the kubelet waits 5 s.
const liveTimeout = 3 * time.Second

// live fails only when a server that should serve does not answer a call that touches neither data nor disk. A disk that cannot be used,
// or hangs, is no reason to restart the pod, which would hang, too; nor is an external server that is away.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	if serving, _, _ := s.condition(); serving && s.Config.External == nil {
		ctx, cancel := context.WithTimeout(r.Context(), liveTimeout)
		defer cancel()
		err := ganesha.Probe(ctx, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), names.PortNFS))
		if err != nil && s.waitsForDisk() {
			_, _ = fmt.Fprintln(w, "ok, but Ganesha waits for the disk: "+err.Error())
			return
		}
		if err != nil {
			http.Error(w, "Ganesha does not answer: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	_, _ = fmt.Fprintln(w, "ok")
}

func (s *Server) waitsForDisk() bool {
	s.mu.Lock()
	nfs := s.nfs
	s.mu.Unlock()
	return nfs != nil && nfs.WaitsForDisk()
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if serving, c, _ := s.condition(); !serving {
		http.Error(w, c.reason+": "+c.message, http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

package server

import (
	"fmt"
	"net/http"
	"net/netip"

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

// live fails only when a server that should serve does not answer a call that touches neither data nor disk. A disk that cannot
// be used is no reason to restart the pod, nor is an external server that is away.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	if serving, _, _ := s.condition(); serving && s.Config.External == nil {
		if err := ganesha.Probe(r.Context(), netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), names.PortNFS)); err != nil {
			http.Error(w, "Ganesha does not answer: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	_, _ = fmt.Fprintln(w, "ok")
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if serving, c, _ := s.condition(); !serving {
		http.Error(w, c.reason+": "+c.message, http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

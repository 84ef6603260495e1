package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health serves /livez, /readyz and /metrics until the context ends. A check that returns an error is answered with
// status 503 and the error's text. No check may wait for anything.
type Health struct {
	Address  string
	Live     func() error
	Ready    func() error
	Registry prometheus.Gatherer
}

// Serve runs it.
func (h Health) Serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", check(h.Live))
	mux.Handle("GET /readyz", check(h.Ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.Registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", h.Address)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func check(f func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := f(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
}

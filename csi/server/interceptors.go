package server

import (
	"context"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/kubernetes-csi/csi-lib-utils/protosanitizer"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// quiet are methods that are called all the time and say nothing: they are logged only at a high level.
var quiet = map[string]bool{
	"Probe": true, "GetPluginInfo": true, "GetPluginCapabilities": true, "ControllerGetCapabilities": true,
	"NodeGetCapabilities": true, "NodeGetVolumeStats": true, "GetInfo": true,
}

const (
	verbose     = 1
	veryVerbose = 4
)

// Metrics are the metrics of the calls of a CSI plugin.
type Metrics struct {
	duration *prometheus.HistogramVec
}

// NewMetrics registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "nfs_operator_csi_call_duration_seconds",
		Help:    "Time that calls of the CSI driver took, by method and gRPC code.",
		Buckets: []float64{0.005, 0.025, 0.1, 0.5, 2.5, 10, 30, 60},
	}, []string{"method", "code"})}
	registry.MustRegister(m.duration)
	return m
}

func observe(log logr.Logger, metrics *Metrics) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		method := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
		log := log.WithValues("method", method)
		called, answered := verbose, 0
		if quiet[method] {
			called, answered = veryVerbose, veryVerbose
		}
		log.V(called).Info("Called", "request", protosanitizer.StripSecrets(req))
		start := time.Now()
		resp, err := handler(logr.NewContext(ctx, log), req)
		took := time.Since(start)
		code := status.Code(err)
		metrics.duration.WithLabelValues(method, code.String()).Observe(took.Seconds())
		if err != nil {
			log.Info("Call failed", "code", code.String(), "error", status.Convert(err).Message(), "took", took.String(),
				"request", protosanitizer.StripSecrets(req))
			return nil, err
		}
		log.V(answered).Info("Answered", "took", took.String(), "request", protosanitizer.StripSecrets(req), "response", protosanitizer.StripSecrets(resp))
		return resp, nil
	}
}

// recovered turns a panic into an error of its call: the other calls go on.
func recovered(log logr.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
		defer func() {
			if p := recover(); p != nil {
				log.Error(nil, "Call panicked", "method", info.FullMethod, "panic", p, "stack", string(debug.Stack()))
				resp, err = nil, status.Error(codes.Internal, "internal error: see the log of the plugin")
			}
		}()
		return handler(ctx, req)
	}
}

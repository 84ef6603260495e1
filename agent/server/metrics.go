package server

import (
	"context"
	"fmt"
	"path"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type metrics struct {
	registry   *prometheus.Registry
	operations *prometheus.HistogramVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "nfs_operator_agent_call_duration_seconds",
			Help:    "Duration of calls to the agent.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14), // 1 ms to 8 s
		}, []string{"method", "code"}),
	}
	m.registry.MustRegister(m.operations)
	return m
}

// watch registers what is read from the server when somebody asks.
func (m *metrics) watch(s *Server) { m.registry.MustRegister(statusCollector{s}) }

func (m *metrics) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	begin := time.Now()
	resp, err := next(ctx, req)
	m.operations.WithLabelValues(path.Base(info.FullMethod), status.Code(err).String()).Observe(time.Since(begin).Seconds())
	return resp, err
}

var (
	bytesDescription      = prometheus.NewDesc("nfs_operator_server_bytes", "Bytes of the data disk.", []string{"kind"}, nil)
	volumesDescription    = prometheus.NewDesc("nfs_operator_server_volumes", "Volumes in service or being deleted.", nil, nil)
	servingDescription    = prometheus.NewDesc("nfs_operator_server_serving", "1 when clients are served.", nil, nil)
	unrepairedDescription = prometheus.NewDesc("nfs_operator_server_unrepaired",
		"Volumes and snapshots that could not be repaired at the agent's start and were left alone.", nil, nil)
	restartsDescription = prometheus.NewDesc("nfs_operator_server_ganesha_restarts_total", "Restarts of Ganesha since the agent's start.", nil, nil)
)

// statusCollector shows GetStatus as metrics.
type statusCollector struct{ server *Server }

// Describe implements prometheus.Collector.
func (statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{bytesDescription, volumesDescription, servingDescription, restartsDescription, unrepairedDescription} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c statusCollector) Collect(ch chan<- prometheus.Metric) {
	st, err := c.server.service.GetStatus(context.Background(), nil)
	if err != nil {
		return
	}
	serving := 0.0
	if st.GetServing() {
		serving = 1
	}
	ch <- prometheus.MustNewConstMetric(servingDescription, prometheus.GaugeValue, serving)
	ch <- prometheus.MustNewConstMetric(volumesDescription, prometheus.GaugeValue, float64(st.GetVolumes()))
	ch <- prometheus.MustNewConstMetric(restartsDescription, prometheus.CounterValue, float64(st.GetGaneshaRestarts()))
	c.server.mu.Lock()
	e := c.server.engine
	c.server.mu.Unlock()
	if e != nil {
		ch <- prometheus.MustNewConstMetric(unrepairedDescription, prometheus.GaugeValue, float64(e.Unrepaired()))
	}
	if st.GetCapacity() == nil {
		return
	}
	for kind, bytes := range map[string]int64{
		"total": st.GetCapacity().GetTotalBytes(), "allocated": st.GetCapacity().GetAllocatedBytes(),
		"available": st.GetCapacity().GetAvailableBytes(), "used": st.GetCapacity().GetUsedBytes(), "trash": st.GetTrashBytes(),
	} {
		ch <- prometheus.MustNewConstMetric(bytesDescription, prometheus.GaugeValue, float64(bytes), kind)
	}
}

// recoverUnary turns a panic of one call into its error: the agent is process 1, and its end would be Ganesha's.
func (s *Server) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer s.recovered(info.FullMethod, &err)
	return next(ctx, req)
}

func (s *Server) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer s.recovered(info.FullMethod, &err)
	return next(srv, stream)
}

func (s *Server) recovered(method string, err *error) {
	if p := recover(); p != nil {
		s.Log.Error(fmt.Errorf("panic: %v", p), "Call panicked", "method", method, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "internal error")
	}
}

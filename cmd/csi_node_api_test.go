package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

func TestServerAddress(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apis/storage.nfs-operator.io/v1alpha1/nfsbackends/main" {
			_, _ = w.Write([]byte(`{"status":{"shards":[{"shard":1,"address":"10.0.0.1"}]}}`))
		}
	}))
	defer api.Close()
	node := nodeAPI{core: corev1client.NewForConfigOrDie(&rest.Config{Host: api.URL})}
	at := func(backend string, number int32) string {
		return node.serverAddress(t.Context(), volumeid.Shard{Backend: backend, Number: number})
	}
	if at("main", 1) != "10.0.0.1" || at("main", 0) != "" || at("other", 1) != "" {
		t.Errorf("servers are at %q, %q, %q", at("main", 1), at("main", 0), at("other", 1))
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certificatesv1client "k8s.io/client-go/kubernetes/typed/certificates/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	eventsv1client "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/event"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// backendTimeout bounds the look for an NFSBackend, on which a call of the kubelet waits.
const backendTimeout = 3 * time.Second

// nodeAPI is what the node plugin asks of the API server: next to nothing, and it caches nothing.
type nodeAPI struct {
	certificates *certificatesv1client.CertificatesV1Client
	core         *corev1client.CoreV1Client
	events       *eventsv1client.EventsV1Client
}

func newNodeAPI() (*nodeAPI, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	var a nodeAPI
	var errCertificates, errCore, errEvents error
	a.certificates, errCertificates = certificatesv1client.NewForConfig(config)
	a.core, errCore = corev1client.NewForConfig(config)
	a.events, errEvents = eventsv1client.NewForConfig(config)
	return &a, errors.Join(errCertificates, errCore, errEvents)
}

// backendGone reports whether the API server says that there is no such NFSBackend. That the kind itself is unknown is
// something else.
func (a *nodeAPI) backendGone(ctx context.Context, name string) bool {
	err := a.backend(ctx, name).Error()
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) &&
		status.Status().Details != nil && status.Status().Details.Name == name
}

// serverAddress is where a server is as its NFSBackend says, or nothing.
func (a *nodeAPI) serverAddress(ctx context.Context, shard volumeid.Shard) string {
	var backend v1alpha1.NFSBackend
	if text, err := a.backend(ctx, shard.Backend).Raw(); err != nil || json.Unmarshal(text, &backend) != nil {
		return ""
	}
	for _, s := range backend.Status.Shards {
		if s.Shard == shard.Number {
			return s.Address
		}
	}
	return ""
}

func (a *nodeAPI) backend(ctx context.Context, name string) rest.Result {
	ctx, cancel := context.WithTimeout(ctx, backendTimeout)
	defer cancel()
	return a.core.RESTClient().Get().AbsPath("/apis/" + v1alpha1.GroupVersion.String() + "/nfsbackends/" + name).Do(ctx)
}

// nameClient tells the kernel's NFS client who it is. Without it the node's hostname alone is its name, which is
// mostly enough: failures are only logged.
func (a *nodeAPI) nameClient(ctx context.Context, log logr.Logger, mounter *mount.Linux, events *event.Node, name string) {
	if id := mounter.Identifier(); id != "" {
		log.Info("WARNING: this node's NFS client has an identifier, and so its locks will not survive the restart of a server: unset nfs4_unique_id and what sets /sys/fs/nfs/net/nfs_client/identifier, and restart the node", "identifier", id)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	node, err := a.core.Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		log.Error(err, "Cannot read the Node, whose UID is to name this NFS client")
		return
	}
	events.SetUID(node.UID)
	mounter.SetClientName(mount.ClientName(name, string(node.UID)))
}

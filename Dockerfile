# Both images of nfs-operator. `docker build --target nfs-operator .` and `docker build --target nfs-server .` need nothing but
# Docker. hack/images/build makes the same images where there is no registry; keep what it says about them the same.
ARG GO_IMAGE=golang:1.26
ARG SERVER_BASE=debian:sid-slim

FROM ${GO_IMAGE} AS builder
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY agent agent
COPY cmd cmd
COPY controllers controllers
COPY csi csi
COPY internal internal
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/nfs-operator/nfs-operator/internal/version.Version=${VERSION}" -o /nfs-operator ./cmd

# The manager, the CSI controller and the CSI node plugin: the static binary and nothing else.
FROM scratch AS nfs-operator
COPY --from=builder /nfs-operator /nfs-operator
USER 65532:65532
ENTRYPOINT ["/nfs-operator"]

# The NFS server: the agent with nfs-ganesha. Debian sid, because only there libntirpc is new enough (docs/decisions).
FROM ${SERVER_BASE} AS nfs-server
COPY hack/images/server-packages /tmp/server-packages
RUN apt-get update \
    && grep -v '^#' /tmp/server-packages | xargs apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* /tmp/server-packages
COPY --from=builder /nfs-operator /nfs-operator
ENTRYPOINT ["/nfs-operator"]

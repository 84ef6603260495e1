# nfs-operator. `make help` lists the targets; `make demo` and `make test` need nothing but Go and a Debian 12.

VERSION ?= dev
NODES ?= 2
CLUSTER_NAME ?= nfsop
BIN := $(CURDIR)/bin
CLUSTER := $(BIN)/cluster
GO_BUILD := CGO_ENABLED=0 go build -trimpath
LDFLAGS := -s -w -X github.com/nfs-operator/nfs-operator/internal/version.Version=$(VERSION)
export PATH := $(BIN):$(PATH)
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

##@ See it work
.PHONY: demo
demo: ## The whole product on a real local cluster, with a picture at the end (DEMO_CLUSTER=existing: on yours)
	@VERSION=$(VERSION) hack/demo

##@ Test
.PHONY: test test-unit test-envtest test-vm test-e2e test-long
test: ## Every test: unit, API server, virtual machine, cluster (installs what it needs)
	@hack/test unit verify envtest images vm+e2e
test-unit: ## The fast inner loop: no root, no cluster
	@hack/test unit
test-envtest: ## Reconcilers and validation against a real API server
	@hack/test envtest
test-vm: ## Agent and CSI driver on real XFS, Ganesha and kernel NFS, in a virtual machine
	@hack/test vm
test-e2e: ## The product on a real cluster of two nodes (E2E_RUN=regexp, E2E_KEEP=1: test/e2e/README.md)
	@hack/test e2e
test-long: ## What takes long by nature: fuzzing, the race detector, deep and large trees, kills at every system call, failing servers and nodes
	@hack/test long e2e_long powercut failure uninstall

.PHONY: bench
bench: ## Measure: a table with targets, and bench-results.json (STAGE="agent cluster", BENCH_RUN=regexp)
	@hack/bench $(STAGE)

##@ Local cluster
.PHONY: cluster-up cluster-down cluster-status cluster-load images
cluster-up: $(CLUSTER) ## Start a cluster (NODES=2, CLUSTER_NAME=nfsop)
	@$(CLUSTER) up --name $(CLUSTER_NAME) --nodes $(NODES)
cluster-down: $(CLUSTER) ## Take it down and remove everything it made
	@$(CLUSTER) down --name $(CLUSTER_NAME)
cluster-status: $(CLUSTER) ## Say what runs
	@$(CLUSTER) status --name $(CLUSTER_NAME)
cluster-load: $(CLUSTER) ## Load an image into its nodes (IMAGE=name or file)
	@$(CLUSTER) load-image --name $(CLUSTER_NAME) $(IMAGE)
images: $(CLUSTER) ## Build the two images, without a registry
	@VERSION=$(VERSION) hack/images/build

##@ Develop
.PHONY: build generate manifests verify lint
build: ## Build the binary
	@$(GO_BUILD) -ldflags '$(LDFLAGS)' -o $(BIN)/nfs-operator ./cmd
generate: $(BIN)/controller-gen $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc ## Generate Go code from types and protocols
	@controller-gen object paths=./api/...
	@command -v protoc >/dev/null || { echo "protoc is missing: apt-get install protobuf-compiler" >&2; exit 1; }
	@protoc -I. --go_out=. --go_opt=module=github.com/nfs-operator/nfs-operator \
		--go-grpc_out=. --go-grpc_opt=module=github.com/nfs-operator/nfs-operator agent/api/v1/agent.proto
manifests: $(BIN)/controller-gen ## Generate CRDs and roles
	@controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	@controller-gen rbac:roleName=manager paths=./controllers/... output:rbac:dir=config/rbac
verify: ## Fail when generated files are not up to date
	@hack/test verify
lint: $(BIN)/golangci-lint ## Run the linters
	@golangci-lint run ./...
	@cd test/cluster && golangci-lint run --config ../../.golangci.yml ./...

$(BIN)/controller-gen $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc $(BIN)/kustomize: hack/tools/go.mod
	@echo "building $(@F)"
	@cd hack/tools && GOBIN=$(BIN) go install $$(go list -f '{{.ImportPath}}' tool | grep '/$(@F)\(/v5\)\?$$')
$(BIN)/golangci-lint: hack/lint/go.mod
	@echo "building golangci-lint (some minutes, once)"
	@cd hack/lint && GOBIN=$(BIN) go install tool
.PHONY: $(CLUSTER)
$(CLUSTER):
	@cd test/cluster && $(GO_BUILD) -o $@ .

##@ Install on a cluster of yours
.PHONY: install uninstall
install: ## Install the operator (KUBECONFIG)
	@kubectl apply --server-side -k config/default
uninstall: ## Remove the operator; disks and data stay (docs/uninstall.md)
	@kubectl delete -k config/default --ignore-not-found

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*##"} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*##/ {printf "  %-16s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

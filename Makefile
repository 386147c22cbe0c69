# SPDX-FileCopyrightText: 2026 The Gatehouse Authors
# SPDX-License-Identifier: Apache-2.0

# What to build, from where, and how long to try; each may be set on the command line: make fuzz FUZZTIME=1m
BIN       ?= bin/gatehouse
VERSION   ?= $(shell git describe --always --dirty 2>/dev/null || echo v0.0.0-dev)
TESTFLAGS ?=
RERUNS    ?=
BENCHPKGS ?= ./modules/... ./plugins/...
FUZZTIME  ?= 10s
DOCTESTS  ?= TestDocs|TestLayout
K6        ?= smoke bans upstreams failover
TARGETS   ?= linux/amd64,linux/arm64,darwin/amd64,darwin/arm64
DIST      ?= dist
SEED      ?=
SHORT     ?=

# As in xcaddy.json, which also has to set the names that main.go sets here; a test in cmd/xbuild compares the two binaries.
BUILDFLAGS = -trimpath -tags nobadger,nomysql,nopgx -ldflags "-s -w -X github.com/caddyserver/caddy/v2.CustomVersion=$(VERSION)"

# With RERUNS=1 a test that fails among all the others runs once more, alone: see .ci/again.
GOTEST = $(if $(RERUNS),RERUNS=$(RERUNS) .ci/again,go test)
# The package that takes longest begins first: at the end of the list it would run alone.
TESTED = $(if $(RERUNS),,./plugins/redis ./...)

# The tools are built anew when their versions or Go's change: staticcheck cannot read code newer than its own Go.
TOOLS := bin/tools/.installed-$(shell go env GOVERSION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/gatehouse
	CGO_ENABLED=0 go build $(BUILDFLAGS) -o $(BIN) ./cmd/gatehouse

.PHONY: run
run: build ## Run the proxy before two demo applications, until Ctrl-C
	CGO_ENABLED=0 go build -trimpath -o bin/origin ./cmd/origin
	@bin/origin demo --gatehouse $(BIN)

.PHONY: test
test: $(if $(RERUNS),$(TOOLS)) ## Run the tests, with a real Redis
	.ci/need-redis
	.ci/need-clients
	$(GOTEST) $(TESTFLAGS) $(TESTED)

.PHONY: race
race: $(if $(RERUNS),$(TOOLS)) ## Run the tests under the race detector
	.ci/need-redis
	.ci/need-clients
	.ci/need-cc
	CGO_ENABLED=1 $(GOTEST) -race $(TESTFLAGS) $(TESTED)

.PHONY: lint
lint: $(TOOLS) ## Check format, licence lines, go.mod files, vet and staticcheck
	@files=$$(bin/tools/gofumpt -l .) && if [ -n "$$files" ]; then echo "not formatted by gofumpt:" "$$files" >&2; exit 1; fi
	.ci/spdx
	go mod tidy -diff
	go mod tidy -C cmd/xbuild -diff
	go mod tidy -C .ci/tools -diff
	go vet ./...
	go vet -C cmd/xbuild ./...
	bin/tools/staticcheck ./...
	cd cmd/xbuild && ../../bin/tools/staticcheck ./...

.PHONY: fuzz
fuzz: ## Run each fuzz test for FUZZTIME
	FUZZTIME=$(FUZZTIME) .ci/fuzz

.PHONY: bench
bench: ## Run the benchmarks of BENCHPKGS
	.ci/need-redis
	go test -run '^$$' -bench . -benchmem $(TESTFLAGS) $(BENCHPKGS)

.PHONY: sim
sim: ## Print the table of the upstream-selection simulator; SEEDS= and SCENARIOS=file choose others
	go run ./modules/balance/balancesim/simtable

.PHONY: live
live: ## Compare upstream selection on real proxies, beside nginx and HAProxy where installed
	go run ./loadtest/upstreams
	go run ./loadtest/upstreams -cost

.PHONY: chaos
chaos: ## Break everything around three proxies under load, and the control that must fail; SHORT=1 leaves out the long runs
	.ci/need-redis
	go run ./loadtest/chaos $(if $(SEED),-seed $(SEED))
	go run ./loadtest/chaos -short -control
ifneq ($(SHORT),1)
	for seed in $(or $(SEED),1 2 3); do go run ./loadtest/idempotency -seed $$seed || exit 1; done
	go run ./loadtest/idempotency -faults redis -keys 2000
	go run ./loadtest/idempotency -faults kill -keys 2000
	for control in lock-ttl set-nx; do go run ./loadtest/idempotency -algorithm $$control -keys 200 -patience 3s || exit 1; done
endif

.PHONY: loadtest
loadtest: bin/tools/vegeta ## Measure what everything costs beside plain Caddy; SHORT=1 takes one round of less
	go run ./loadtest/stack

.PHONY: scenarios
scenarios: bin/tools/k6 ## Run the k6 scenarios of K6, each before a proxy of its own
	go run ./loadtest/scenarios $(K6)

.PHONY: load-tools
load-tools: bin/tools/k6 bin/tools/vegeta ## Build the load generators into bin/tools

.PHONY: xbuild
xbuild: ## Build bin/gatehouse-xcaddy by xcaddy, and check that it is the same proxy
	go build -C cmd/xbuild -o ../../bin/xbuild .
	bin/xbuild --version $(VERSION)
	go test -C cmd/xbuild -timeout 30m $(TESTFLAGS) ./...

.PHONY: dist
dist: ## Make archives, Debian packages, an image's folder, bills of materials and checksums for TARGETS; publish nothing
	$(if $(filter dist,$(DIST)),rm -rf dist)
	go run ./cmd/dist -out $(DIST) -version $(VERSION) -targets $(TARGETS) -- $(BUILDFLAGS)

.PHONY: docs-check
docs-check: ## Check the documentation and the layout of the tree
	@go test -list '$(DOCTESTS)' ./cmd/gatehouse/... | grep '^Test' || { echo 'error: no test matches $(DOCTESTS)' >&2; exit 1; }
	go test $(TESTFLAGS) -run '$(DOCTESTS)' ./cmd/gatehouse/...

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist

$(TOOLS): .ci/tools/go.mod .ci/tools/go.sum
	GOBIN=$(CURDIR)/bin/tools go -C .ci/tools install tool
	@rm -f bin/tools/.installed-*
	@touch $@

# The load generators take minutes to build: once for each version that is pinned.
bin/tools/k6 bin/tools/vegeta: bin/tools/%: loadtest/tools/%/go.mod loadtest/tools/%/go.sum
	@echo 'building $*, once'
	@GOBIN=$(CURDIR)/bin/tools go -C loadtest/tools/$* install tool || \
		{ echo 'error: $* was not built; it needs the Go module proxy, or GOPROXY set to one that you reach' >&2; exit 1; }
	@touch $@

# Everything a developer needs; `make test` is the gate, and what CI runs is what people run.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

TOOL := go tool -modfile=deploy/tools/go.mod
# How long each fuzz target runs under `make fuzz`.
FUZZTIME ?= 2m

.PHONY: build image demo test components format lint vet check-modules unit fuzz bench bench-parts mutants floods replicas soak vulncheck

build: ## one static binary in bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/loginwall ./cmd/loginwall

image: ## the container image for amd64 and arm64 in bin/, without an engine
	go -C deploy/tools run ./image -o $(CURDIR)/bin/loginwall-image.tar

demo: ## a whole login on this machine, offline
	go run ./cmd/loginwall demo

test: components check-modules format vet lint unit ## the gate: everything below, on a fresh machine too

components: ## the real programs that tests use, installed once by name
	@deploy/components.sh

check-modules:
	go mod tidy -diff
	go mod verify

format:
	@out="$$($(TOOL) gofumpt -l $$(git ls-files '*.go'))"; \
	if [ -n "$$out" ]; then echo "not formatted (run: $(TOOL) gofumpt -w .):"; echo "$$out"; exit 1; fi

vet:
	go vet ./...

lint:
	$(TOOL) staticcheck ./...
	$(TOOL) golangci-lint run ./...

# META-252: without a data race.
unit: ## all tests; fuzz seeds and import laws are among them
	go test -race -shuffle=on -timeout 60m ./...
	go test -run '^TestAllocations$$' ./proxy

fuzz: ## each fuzz target for FUZZTIME
	@go list ./... | while read -r pkg; do \
	  go test -list '^Fuzz' "$$pkg" | { grep ^Fuzz || true; } | while read -r target; do \
	    echo "== $$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$pkg"; \
	  done; \
	done

bench: build ## the wall beside a bare proxy and nginx; BENCH takes flags: BENCH='-run login -rounds 1'
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/ ./deploy/bench ./deploy/bench/bare
	taskset -c 1 bin/bench -o deploy/bench/RESULTS.md $(BENCH)

bench-parts: ## the parts of the request's path, each alone
	go test -run '^$$' -bench . -benchmem -count 5 ./...

mutants: ## META-254: take out one defence at a time, and see a test go red
	go run ./deploy/mutants -o deploy/mutants/RESULTS.md

floods: ## DOS: what strangers do in great numbers; keeps the figures
	FLOODS=testdata/floods.md go test -count 1 -timeout 30m -v -run '^TestFloods$$' ./cmd/loginwall

replicas: build ## many walls on one PostgreSQL, with a million users; keeps the figures
	LOGINWALL=$(CURDIR)/bin/loginwall REPLICAS=testdata/replicas.md go test -count 1 -timeout 30m -v -run '^TestReplicas$$' ./cmd/loginwall

# How long the soak is.
SOAK ?= 30m
soak: ## META-255: a wall in use for SOAK, with everything going on around it; keeps the figures
	SOAK=$(SOAK) SOAK_TABLE=testdata/soak.md go test -count 1 -timeout 0 -v -run '^TestSoak$$' ./cmd/loginwall

vulncheck: ## META-251: known holes in what we build on; needs a network
	$(TOOL) govulncheck ./...

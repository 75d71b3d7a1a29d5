# What a person or CI does here. Every target installs what it needs first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := node_modules/.bin
INSTALLED := node_modules/.installed
CODE := $(wildcard src test bench examples .ci/scripts) vitest.config.ts
FORMATTED := $(CODE) package.json tsconfig.json tsconfig.build.json tsconfig.examples.json tsconfig.programs.json .oxlintrc.json

.PHONY: help
help: ## Lists these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile

$(INSTALLED): package-lock.json .npmrc
	@echo "== npm ci"
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: deps
deps: $(INSTALLED) ## Installs the dependencies, where they changed

.PHONY: gen
gen: deps ## Generates gen/ from proto/ and third_party/
	@echo "== generate"
	@$(BIN)/tsx .ci/scripts/print-validate-proto.ts
	@$(BIN)/buf generate
	@$(BIN)/buf generate --template buf.gen.openapi.yaml

.PHONY: baseline
baseline: deps ## Moves the baseline of buf breaking; only with a version in CHANGELOG.md
	@$(BIN)/buf build proto -o proto/baseline.binpb

.PHONY: build
build: deps ## Compiles dist/
	@echo "== build"
	@$(BIN)/tsx .ci/scripts/build.ts

.PHONY: format
format: deps ## Formats code, comments and contract
	@$(BIN)/tsx .ci/scripts/wrap-comments.ts $(CODE)
	@$(BIN)/oxfmt $(FORMATTED)
	@$(BIN)/buf format -w proto

.PHONY: run
run: deps build ## Starts Drover with all it needs, runs four sample tasks, and serves until Ctrl-C
	@exec node dist/main.js dev --samples

.PHONY: demo
demo: deps build ## The same on free ports, once; exit code 0 only if all four effects are seen from outside
	@exec node dist/main.js dev --check --port 0 --grpc-port 0 --data-dir .drover/demo

.PHONY: run-server
run-server: deps build ## A coordinator on your own stores: REDIS_URL, DATABASE_URL
	@exec node dist/main.js serve

.PHONY: run-worker
run-worker: deps build ## A worker with the sample handlers: DROVER_ADDR says where coordinators are
	@exec node dist/main.js worker --handlers dist/examples/handlers

.PHONY: lint
lint: deps ## Checks types and style
	@echo "== lint: tsc, oxlint"
	@$(BIN)/tsc --noEmit -p tsconfig.json
	@$(BIN)/oxlint --quiet --type-aware $(CODE)

.PHONY: verify
verify: deps ## Proves gen/ current, the contract sound and compatible, all formatted, nothing unused
	@bash .ci/scripts/verify.sh $(FORMATTED)

.PHONY: test
test: deps ## Runs every check and test; ends with N passed, N failed, N skipped
	@$(MAKE) --jobs=3 lint verify build
	@echo "== test"
	@DROVER_NO_SKIPS=1 $(BIN)/vitest run

.PHONY: soak
soak: deps build ## Runs the stories with more faults and longer outages, some 40 minutes
	@echo "== soak"
	@DROVER_SOAK=1 DROVER_NO_SKIPS=1 $(BIN)/vitest run test/story

.PHONY: test-coverage
test-coverage: deps build ## Runs the tests and reports which lines they reach
	@$(BIN)/vitest run --coverage

.PHONY: test-foreign
test-foreign: deps build ## Has a worker and a producer in Python, without our SDK, do 100 tasks
	@echo "== test-foreign"
	@$(BIN)/tsx test/foreign/run.ts

PEERS := bench/node_modules/.installed

$(PEERS): bench/package-lock.json bench/.npmrc
	@echo "== npm ci (the systems measured beside)"
	@cd bench && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: bench
bench: deps build $(PEERS) ## Measures Drover beside its peers in under 4 minutes; BENCH=--full for the long run
	@$(BIN)/tsx bench/run.ts $(BENCH)

.PHONY: bench-peers
bench-peers: $(PEERS) ## Installs what other peers need (servers, Sidekiq, Celery, Asynq), as root on Debian; others stay absent
	@bash bench/install-peers.sh

.PHONY: bench-micro
bench-micro: deps ## Measures the CPU of the broker's scripts alone; MICRO="--against ../other"
	@$(BIN)/tsx bench/micro/scripts.ts $(MICRO)

.PHONY: bench-scale
bench-scale: deps build ## Measures what Drover carries, in under 10 minutes; SCALE="--quick --runs backlog,unary"
	@$(BIN)/tsx bench/scale/run.ts $(SCALE)

.PHONY: capacity
capacity: deps ## Writes the tables of docs/capacity.md anew from bench/results; bench and bench-scale do so too
	@$(BIN)/tsx bench/capacity-page.ts

.PHONY: bench-check
bench-check: deps build $(PEERS) ## Fails when the hot paths are slower than the kept figures, beside a peer; CHECK="--rounds 5"
	@$(BIN)/tsx bench/check.ts $(CHECK)

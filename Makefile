# Everything a developer and a new user runs. `make demo` and `make test` install what they need under .tools.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
TOOLS := $(CURDIR)/.tools
export PATH := $(TOOLS)/bin:$(PATH)
CARGO := cargo
KUBERNETES ?= mini
SIM ?=

.PHONY: help build demo test test-real test-wire bench sim lint fmt doc deny bless tools clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## Build the release binaries
	$(CARGO) build --release --workspace --locked

demo: build tools ## Play the whole journey; KUBERNETES=real plays it on real clusters (as root, envtest binaries present)
ifeq ($(KUBERNETES),real)
	unshare --net target/release/kubefed local demo --kubernetes real
else
	target/release/kubefed local demo
endif

test: build tools ## Run every test, the black-box journeys included; on real Kubernetes as well if its binaries are at hand
	$(CARGO) test --workspace --locked
	@if [ -x "$${KUBEBUILDER_ASSETS:-/usr/local/kubebuilder/bin}/kube-apiserver" ]; then $(MAKE) --no-print-directory test-real; \
	else echo "skipped: the journeys on real Kubernetes, whose binaries are not in KUBEBUILDER_ASSETS"; fi

test-real: build tools ## Play the journeys on real Kubernetes (as root, envtest binaries present)
	$(CARGO) test --workspace --locked --test journeys -- --ignored --nocapture on_real_kubernetes

test-wire: ## Only compare our answers with those recorded from kube-apiserver
	$(CARGO) test --workspace --locked --test replay

bench: build tools ## Measure speed and memory; prints a table
	$(CARGO) build --release --workspace --locked --examples
	target/release/examples/bench
	target/release/examples/bench-proxy

sim: build ## Measure a federation of 100 clusters and 20,000 objects; SIM="--clusters 10 --objects 1000" for another
	target/release/sim $(SIM)

lint: ## Formatting and clippy, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

fmt: ## Format the code
	$(CARGO) fmt --all

doc: ## Build the documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

deny: ## Check licences, sources and banned crates
	WITH_DENY=1 scripts/tools.sh $(TOOLS)
	cargo-deny --locked check bans licenses sources

bless: ## Accept changed golden files
	INSTA_UPDATE=always $(CARGO) test --workspace --locked

tools: ## Install what tests and demo need and the machine lacks: kubectl, etcd, cargo-deny
	@scripts/tools.sh $(TOOLS)

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf $(TOOLS)

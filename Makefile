# Asterism: `make help` lists the targets. Each sets up what it needs on a fresh machine (see tests/setup).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-full bench fmt lint tools

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# Size of the demo's contact list: `CONTACTS=n make demo`.
CONTACTS ?= 1000
# One benchmark by name: `make bench ONLY=step-rtt`.
ONLY ?=

# The demo builds the dev profile without the AWS SDKs (hashing, signing and sled are optimised in it all the same).
DEMO_BUILD = $(CARGO) build --locked --bins -p asterism-cli -p asterism-replay -p asterism-agent -p asterism-pbx-sim
DEMO_RUN = $(TARGET_DIR)/debug/asterism up --demo --contacts $(CONTACTS)
# What the benchmarks run and what they run it with; the AWS SDKs are in none of it.
BENCH_BUILD = $(CARGO) build --locked --release --bins -p asterism-tests -p asterism-cli -p asterism-replay \
  -p asterism-agent -p asterism-pbx-sim -p asterism-logic-responder -p asterism-dialer -p asterism-scaler -p asterism-ledger \
  -p asterism-media-sync
BENCH_RUN = $(TARGET_DIR)/release/asterism-bench $(if $(ONLY),--only $(ONLY))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## 1,000 contacts on a simulated elastic fleet, with a report (CONTACTS=n changes the size)
	@server=$$(tests/setup/nats-server.sh); \
	$(DEMO_BUILD); \
	ASTERISM_NATS_SERVER=$$server exec $(DEMO_RUN)

test: ## everything: fmt, clippy, tidy, unit, property, integration and end-to-end tests
	@tests/setup/run-tests.sh

test-full: ## the same with more cases for each property and the long scenarios
	@ASTERISM_TEST_FULL=1 PROPTEST_CASES=$${PROPTEST_CASES:-2048} tests/setup/run-tests.sh

bench: ## all benchmarks, one JSON line each (ONLY=name runs one)
	@server=$$(tests/setup/nats-server.sh); \
	memcached=$$(tests/setup/memcached.sh); \
	$(BENCH_BUILD); \
	mkdir -p $(TARGET_DIR)/bench; \
	ASTERISM_NATS_SERVER=$$server ASTERISM_MEDIA_TOOLS=$$(tests/setup/media-tools.sh) ASTERISM_MEMCACHED=$$memcached \
	ASTERISM_ASTERISK_ROOT=$$(tests/setup/asterisk.sh) ASTERISM_SIPP=$$(tests/setup/sipp.sh) exec $(BENCH_RUN)

fmt: ## format all code
	@$(CARGO) fmt --all

lint: ## what reviewers need not say: fmt, clippy, tidy, and cargo-deny where it is installed
	@$(CARGO) fmt --all -- --check
	@$(CARGO) clippy --locked --workspace --all-targets --all-features -- -D warnings
	@$(CARGO) test --locked -q -p asterism-tests --test tidy
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; \
	else echo "cargo-deny is not installed (cargo install --locked cargo-deny): advisories were not checked; licences and sources were, by tidy"; fi

tools: ## install the real parts that tests use, and print where they are
	@for tool in nats-server asterisk sipp moto; do printf '%-12s %s\n' $$tool "$$(tests/setup/$$tool.sh)"; done

# Coffer: what a developer and CI run. `make help` lists the targets.
#
# Each target first does its own set-up. What it installs, it installs only when it is missing:
# Debian packages (scripts/setup), MinIO (with Go) and cargo-deny.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c
CARGO_DENY_VERSION := 0.20.2
# What the client is measured against.
RESTIC_VERSION := v0.18.1

# What `make bench` runs: all rows unless told, each so many times.
ROWS ?=
RUNS ?= 5

# The demo's S3 server: empty = embedded, `minio`, or an endpoint as HOST[:PORT].
S3 ?=

export CARGO_TERM_COLOR ?= auto
# rust-toolchain.toml pins the compiler; where it is installed under another name, that one is used.
ifndef RUSTUP_TOOLCHAIN
RUSTUP_TOOLCHAIN := $(shell scripts/toolchain)
endif
ifneq ($(RUSTUP_TOOLCHAIN),)
export RUSTUP_TOOLCHAIN
endif

# Tests and the demo look here first.
ifndef MINIO_BIN
MINIO_BIN := $(firstword $(shell command -v minio 2>/dev/null) $(shell go env GOPATH 2>/dev/null)/bin/minio)
endif
export MINIO_BIN

# `make fuzz`: minutes for each target, and which one (empty = all).
MINUTES ?= 10
TARGET ?=
# `make faults`: rounds over one store, and the seed of the first.
ROUNDS ?= 50
SEED ?= 1

.PHONY: help demo tour test mutants mutants-fit bench simulate fuzz fuzz-smoke fuzz-replay fuzz-corpus faults model lint fmt-check clippy doc \
	deny deb deb-test ci setup setup-deb minio restic interop-venv cargo-deny

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup ## back up, collect garbage, lose the cache, restore; S3=minio or S3=HOST:PORT for another server
ifeq ($(S3),minio)
	@$(MAKE) --no-print-directory minio
endif
	@# The same selection as for the tests, so that nothing is compiled twice.
	cargo build --locked --workspace --bins --examples
	@S3='$(S3)' scripts/demo "$$(cargo metadata --no-deps --format-version 1 | jq -r .target_directory)/debug"

tour: setup ## the tour of the README, command by command
	@scripts/tour

# Many tests wait: for daemons to start, for clocks, for servers that are slow on purpose.
RUST_TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))

test: setup minio restic interop-venv ## all tests
	RUST_TEST_THREADS=$(RUST_TEST_THREADS) cargo test --locked --workspace

# MUTANTS="name name" for some of them.
mutants: setup ## drop each rule of the collection in turn, and see its tests fail (slow)
	scripts/mutate $(MUTANTS)

# All rows; RUNS=n runs (the median counts), ROWS=a,b for some of them, which leaves docs/benchmarks.md
# as it is.
bench: setup minio restic ## measure against the baseline; ROWS=a,b RUNS=n
	cargo run --locked --release -p bench -- --runs '$(RUNS)' --rows '$(ROWS)'

fuzz: setup ## fuzz each target for MINUTES=10, two at a time; TARGET=name for one
	@scripts/fuzz run '$(MINUTES)' $(TARGET)

fuzz-smoke: setup ## each fuzz target briefly: what is kept, then a fixed number of runs
	@scripts/fuzz smoke

fuzz-replay: setup ## run one input: TARGET=name INPUT=file
	@scripts/fuzz replay '$(TARGET)' '$(INPUT)'

fuzz-corpus: setup ## what fuzzing found, minimised, becomes the corpus in the repository
	@scripts/fuzz minimise

faults: setup minio ## kill, stop, cut: ROUNDS=50 from SEED=1, real processes against MinIO
	FAULT_ROUNDS='$(ROUNDS)' FAULT_SEED='$(SEED)' \
		cargo test --locked --package faults --test faults -- --nocapture --test-threads=1
# Of a simulation: how many seeds, how many steps of each, the first one; a single world of a seed;
# a shortened plan that failed; the actors that come in addition (all, none, or some of beside,
# moves, copies, labels).
SEEDS ?= 20
STEPS ?= 20000
FIRST_SEED ?= 1
WORLD ?=
PLAN ?=
GUESTS ?= all

simulate: ## simulated servers, SEEDS=n STEPS=m FIRST_SEED=k
	nice -n 10 cargo run --locked --release --quiet -p simulation --bin simulate -- \
		--seeds $(SEEDS) --steps $(STEPS) --first-seed $(FIRST_SEED) \
		--guests $(GUESTS) $(if $(WORLD),--world $(WORLD)) $(if $(PLAN),--plan $(PLAN))

model: setup ## the protocol's models with larger bounds (minutes, some gigabytes)
	MODEL_DEEP=1 nice -n 19 cargo test --locked --package model --test exhaustive -- --nocapture

lint: fmt-check mutants-fit clippy doc ## format, clippy and documentation, warnings denied

mutants-fit: setup
	@scripts/mutate --fit

fmt-check:
	cargo fmt --all --check

clippy: setup
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@# What is shipped has none of the features that the tests turn on.
	cargo clippy --locked --package server -- -D warnings

doc: setup
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps

# Licences, bans and sources come from the lock file and the crates themselves. Advisories need the
# RustSec database, a git repository outside the package registries: they are checked wherever it
# has been fetched (`cargo deny fetch db`), and not where it cannot be reached.
deny: cargo-deny ## licences, bans and sources of the dependencies
	cargo deny --log-level error check --hide-inclusion-graph bans licenses sources
	@if compgen -G "$${CARGO_HOME:-$$HOME/.cargo}/advisory-db*/*" > /dev/null; then \
		cargo deny --log-level error check --disable-fetch advisories; \
	else \
		echo "advisories not checked: no database here; get it with 'cargo deny fetch db'"; \
	fi

deb: setup-deb ## the Debian package, checked by lintian, into deb/ below the target directory
	@scripts/deb

deb-test: deb ## install it in a clean chroot, run it, purge it (as root)
	@scripts/deb-test "$$(cargo metadata --no-deps --format-version 1 | jq -r .target_directory)/deb"

ci: ## everything CI runs
	.ci/run

setup:
	@scripts/setup

setup-deb:
	@scripts/setup deb

minio: ## install MinIO if it is missing
	@if [ ! -x '$(MINIO_BIN)' ]; then \
		command -v go > /dev/null || { echo "error: go is needed to install MinIO" >&2; exit 1; }; \
		echo "installing MinIO $(MINIO_VERSION)"; \
		go install github.com/minio/minio@$(MINIO_VERSION); \
	fi

restic: ## install restic, which the client is measured against, if it is missing
	@if ! "$$(go env GOPATH)/bin/restic" version 2> /dev/null | grep -q 'restic $(RESTIC_VERSION:v%=%) '; then \
		echo "installing restic $(RESTIC_VERSION)"; \
		go install github.com/restic/restic/cmd/restic@$(RESTIC_VERSION); \
	fi

interop-venv: setup
	@scripts/interop-venv

cargo-deny:
	@cargo deny --version > /dev/null 2>&1 || \
		cargo install --locked cargo-deny@$(CARGO_DENY_VERSION)

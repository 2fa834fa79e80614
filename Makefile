# Highwater. `make` prints what there is.
#
# CARGO_TARGET_DIR   where cargo builds, as always
# PORT_BASE          shifts every port of the stack: 0 for `make up`, 20000 for the tests, 10000 for the demo
# SERVICES           what `make up` starts and `make down` stops: kafka registry connect mariadb mysql postgres clickhouse
#
# Builds and tests are of the whole workspace in the dev profile, always: another selection of packages or another profile
# would compile DataFusion and librdkafka once more.

SHELL := /bin/bash
.NOTPARALLEL:
.DEFAULT_GOAL := help
# rustup puts cargo there; a shell from before it was installed does not know.
export PATH := $(PATH):$(HOME)/.cargo/bin

SERVICES ?=
CONNECTOR ?= mariadb-sakila
DEMO_PORT_BASE ?= 10000
BENCH_PORT_BASE ?= 12000
TEST_PORT_BASE := $(or $(PORT_BASE),20000)
NATIVE := compose/native

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## Building

.PHONY: setup
setup: ## Check Rust, install the system packages that the build needs
	@scripts/setup.sh

.PHONY: build
build: setup ## Build everything (dev profile)
	cargo build --workspace

.PHONY: lint
lint: setup ## Format, clippy and documentation, without a warning
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	python3 dashboards/check.py --static

.PHONY: lint-shell
lint-shell: ## shellcheck of the scripts
	shellcheck -x -P . $(NATIVE)/*.sh $(NATIVE)/services/*.sh scripts/*.sh .ci/run

.PHONY: deny
deny: ## Advisories, licences and sources of all dependencies (needs cargo-deny, and the network for advisories)
	cargo deny check

.PHONY: check-compose
check-compose: ## Check compose/docker-compose.yml, where docker compose is installed
	@scripts/check-compose.sh

## Testing

.PHONY: test
test: lint check-compose ## Lint, then all tests on real services (started for it, and stopped)
	@PORT_BASE=$(TEST_PORT_BASE) scripts/test.sh

.PHONY: test-fast
test-fast: setup ## Tests that need no services
	cargo test --workspace --lib --bins

.PHONY: soak
soak: setup ## An hour of new random lives, queries, histories and kills, of which make test tries a few
	@PORT_BASE=$(TEST_PORT_BASE) HIGHWATER_LIVES=$(or $(HIGHWATER_LIVES),20000) HIGHWATER_SEEDS=$(or $(HIGHWATER_SEEDS),20000) \
	HIGHWATER_QUERIES=$(or $(HIGHWATER_QUERIES),3000) \
	PROPTEST_CASES=$(or $(PROPTEST_CASES),3000) HIGHWATER_KILLS=$(or $(HIGHWATER_KILLS),300) \
	scripts/test.sh -- testing:: model mirror_tests retract:: crash:: faults:: fencing:: replay::

.PHONY: bench
bench: setup ## Speed beside librdkafka's own, on 5,000,000 events
	@PORT_BASE=$(BENCH_PORT_BASE) scripts/bench.sh

.PHONY: compare-flink
compare-flink: build ## The same windowed queries in Flink SQL (needs Java, installs 1 GB), into docs/semantics.md
	python3 tests/compare-flink/compare.py --highwater $(or $(CARGO_TARGET_DIR),target)/debug/highwater

## Trying

.PHONY: demo
demo: setup ## The main job in a minute, after the build: generated customers, windows in ClickHouse
	@PORT_BASE=$(DEMO_PORT_BASE) scripts/demo.sh

.PHONY: demo-full
demo-full: setup ## The main job on the whole stack: MariaDB, Debezium, Kafka, Highwater, ClickHouse
	@PORT_BASE=$(DEMO_PORT_BASE) scripts/demo-full.sh

## The stack (docs/stack.md)

.PHONY: up
up: ## Start services and wait for them: make up SERVICES="kafka clickhouse"
	@$(NATIVE)/up.sh $(SERVICES)

.PHONY: down
down: ## Stop what `make up`, `make demo` and `make bench` started; the data stays
	@$(NATIVE)/down.sh $(SERVICES)
	@PORT_BASE=$(DEMO_PORT_BASE) $(NATIVE)/down.sh $(SERVICES)
	@PORT_BASE=$(BENCH_PORT_BASE) $(NATIVE)/down.sh $(SERVICES)

.PHONY: status
status: ## What is up, and where
	@$(NATIVE)/status.sh

.PHONY: register
register: ## Register a Debezium connector: make register CONNECTOR=mariadb-sakila
	@$(NATIVE)/connect.sh register $(CONNECTOR)

.PHONY: clean-stack
clean-stack: ## Stop every stack of this checkout and remove its data and logs (not the downloads)
	@WIPE=1 $(NATIVE)/down.sh
	@WIPE=1 PORT_BASE=$(DEMO_PORT_BASE) $(NATIVE)/down.sh
	@WIPE=1 PORT_BASE=$(BENCH_PORT_BASE) $(NATIVE)/down.sh
	@WIPE=1 PORT_BASE=$(TEST_PORT_BASE) $(NATIVE)/down.sh

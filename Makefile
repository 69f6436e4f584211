# Rivulet: what can be done here. `make` alone lists it.

CARGO ?= cargo
CONFIG ?= configs/agent.toml
SEEDS ?= 1000

.DEFAULT_GOAL := help
.PHONY: help run test sim check agent collector bench size

help: ## lists what can be done
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: ## runs the agent with CONFIG=configs/agent.toml
	$(CARGO) run --release --bin rivulet -- agent --config $(CONFIG)

test: ## runs all tests
	$(CARGO) test
	$(CARGO) test --features collector

sim: ## simulates SEEDS=1000 worlds of failing agents, links and collectors, or SEED=n alone
	SEEDS=$(SEEDS) $(CARGO) test --features collector --test sim -- --nocapture

check: ## formatting, lints and documentation, warnings as errors
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --all-targets --features collector -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --lib --features collector

agent: ## builds the edge's program: target/release/rivulet
	$(CARGO) build --release --bin rivulet

collector: ## builds the centre's program: target/release/rivulet-collector
	$(CARGO) build --release --features collector --bin rivulet-collector

bench: ## measures what is promised, in units
	$(CARGO) bench --features collector

size: agent ## tells the agent's size in bytes
	@wc -c < target/release/rivulet

# Rivulet: what can be done here. `make` alone lists it.

CARGO ?= cargo
# Which real servers the tests use, out of: mysql mariadb1011 mariadb118
SERVERS ?= mysql mariadb1011 mariadb118
# `make run` ends by itself after so many row changes or seconds; without either, at Ctrl-C.
ROWS ?=
SECONDS ?=
# `make differential`: so many values of each server; without a seed a new one is taken, and printed.
VALUES ?= 1000000
SEED ?=
# How many worlds `make sim` tries; SEED=n replays one.
SEEDS ?= 1000
# How many agents `make load` simulates.
AGENTS ?= 1000
# How often `make chaos` kills in each of its tests.
KILLS ?= 300
# `make gate UPDATE=1` keeps what it measured.
UPDATE ?=
# How long `make soak` goes on.
MINUTES ?= 60
# `make memory`: some of its scenes, or all a tenth as large (QUICK=1).
SCENES ?=
QUICK ?=
# `make fuzz` ends after so many executions of all targets together; or after SECONDS of each.
RUNS ?=
# What `make size` and `make memory` hold the static program to.
SIZE_MAX ?= 4500000
MEMORY_MAX ?= 6144
# `make interop` holds the meetings whose name has this word in it, with so many large rows each.
ONLY ?=
PHOTOS ?=

.DEFAULT_GOAL := help
.PHONY: help run test check sim sim-bugs chaos soak network interop hostile load differential fuzz agent collector bench gate size memory cross-amd64 cross-arm64 cross-test man image deb dist package-test reproducible

help: ## lists what can be done
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: ## shows it at work: server, agent, collector, changes arriving (ROWS=… or SECONDS=… to end by itself)
	$(CARGO) build --quiet --features collector --bins --example run
	env ROWS="$(ROWS)" SECONDS="$(SECONDS)" $(CARGO) run --quiet --features collector --example run

test: ## fetches the servers that the tests need, then runs all tests (KILLS=500, PAUSE_S=60, SERVERS="…")
	SERVERS="$(SERVERS)" tests/servers.sh fetch all
	tests/servers.sh fetch mosquitto
	SERVERS="$(SERVERS)" $(CARGO) test --features collector -- --show-output

sim: ## simulates SEEDS=1000 worlds of failing agents, links, brokers, disks and collectors, or SEED=n alone
	env CARGO_PROFILE_DEV_OPT_LEVEL=3 SEEDS=$(SEEDS) $(if $(SEED),SEED=$(SEED)) $(CARGO) test --features collector --test sim -- --nocapture whatever_fails

chaos: ## kills, cuts, storms, full disks and jumping clocks on real processes (KILLS=300, TRANSACTIONS=n, SEED=n, SERVERS="…")
	SERVERS="$(SERVERS)" tests/servers.sh fetch all
	tests/servers.sh fetch mosquitto
	env SERVERS="$(SERVERS)" KILLS=$(KILLS) $(if $(SEED),SEED=$(SEED)) $(CARGO) test --features collector --test chaos -- --nocapture --test-threads 1

soak: cross-amd64 ## the static program and a collector under 2,000 row changes a second and a link that comes and goes (MINUTES=60, SEED=n)
	tests/servers.sh fetch mariadb1011
	env RIVULET_PROGRAM=$(CURDIR)/target/cross/amd64/rivulet MINUTES=$(MINUTES) $(if $(SEED),SEED=$(SEED)) $(CARGO) test --features collector --test soak -- --nocapture

sim-bugs: ## makes ten deliberate bugs, one after the other, and lets the simulation find each (BUG=n, SEEDS=300)
	env SEEDS=$(if $(filter command line,$(origin SEEDS)),$(SEEDS)) BUG=$(BUG) $(CARGO) run --quiet --features collector --example sim-bugs

hostile: ## peers that mean no good at a real collector (CONVERSATIONS=300 that go a little wrong, SEED=n)
	$(CARGO) test --features collector --test hostile -- --nocapture

load: ## so many agents at one collector: memory of each, and how soon all are back after it was killed (AGENTS=1000)
	AGENTS=$(AGENTS) SMOL_THREADS=2 $(CARGO) test --features collector --test load -- --nocapture

fuzz: ## fuzzes all that reads bytes from outside: RUNS=10000000 executions in total, or SECONDS=… for each target
	tests/fuzz/run.sh "$(RUNS)" "$(SECONDS)"

interop: ## agent, real brokers, collector: QUIC and TLS, brokers killed in mid-stream (ONLY=rmqtt, PHOTOS=40)
	tests/servers.sh fetch mariadb1011 mosquitto
	CARGO_TARGET_DIR=target/interop $(CARGO) build --locked --manifest-path tests/interop/Cargo.toml
	$(CARGO) build --features collector --bins --example interop
	env ONLY="$(ONLY)" PHOTOS="$(PHOTOS)" $(CARGO) run --quiet --features collector --example interop

differential: ## random tables and values on each server, from file and stream, against SELECT (VALUES=1000000, SEED=n, SERVERS="…")
	SERVERS="$(SERVERS)" tests/servers.sh fetch all
	SERVERS="$(SERVERS)" VALUES=$(VALUES) SEED=$(SEED) $(CARGO) test --features collector --test random -- --nocapture

network: ## agent and collector over a link that is slow, lossy, cut or half blocked; needs root (SCENES="latency outage", OUTAGE_S=600)
	$(CARGO) build --release --quiet --manifest-path tests/network/relay/Cargo.toml --target-dir target/network
	$(CARGO) build --release --quiet --features collector --bins --example network
	target/release/examples/network

check: ## formatting, lints and documentation, warnings as errors; and `make gate`
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --features collector -- -D warnings
	$(CARGO) clippy -- -D warnings
	$(CARGO) clippy --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --lib --features collector
	$(MAKE) --no-print-directory gate

gate: ## instructions, bytes, calls for memory of a row; memory and sizes; fails if one is 5 % worse than what is kept (UPDATE=1 keeps it)
	$(CARGO) build --release --bin rivulet --example scan --example gate
	env UPDATE=$(UPDATE) target/release/examples/gate

agent: ## builds the edge's program: target/release/rivulet
	$(CARGO) build --release --bin rivulet

collector: ## builds the centre's program: target/release/rivulet-collector
	$(CARGO) build --release --features collector --bin rivulet-collector

bench: ## measures what is promised, in units, and decoding beside others (BENCH_ONLY=compare,decode,batch,bytes,carry,wait,size)
	mkdir -p target/bench
	CARGO_TARGET_DIR=target/peers $(CARGO) build --release --locked --manifest-path tests/peers/Cargo.toml
	$(CARGO) build --release --no-default-features --bin rivulet
	cp target/release/rivulet target/bench/rivulet-without-decode
	$(CARGO) build --release --features collector --bin rivulet-collector
	$(CARGO) build --release --bin rivulet
	$(CARGO) build --release --features collector --example scan
	$(CARGO) run --release --features collector --example bench

cross-amd64: ## builds the edge's program as one static file for x86-64: target/cross/amd64/rivulet
	CARGO="$(CARGO)" cross/build.sh amd64

cross-arm64: ## the same for ARM64: target/cross/arm64/rivulet
	CARGO="$(CARGO)" cross/build.sh arm64

cross-test: ## the ARM64 program, emulated: what it decodes; and MariaDB to collector with kill -9 (KILLS=20, TRANSACTIONS=2000)
	CARGO="$(CARGO)" cross/test.sh

size: cross-amd64 ## tells the static program's size, and its crates; fails if it is more than SIZE_MAX bytes, or if one is the collector's
	@bytes=$$(wc -c < target/cross/amd64/rivulet) && echo "size: $$bytes bytes; at most $(SIZE_MAX)" && [ $$bytes -le $(SIZE_MAX) ]
	CARGO="$(CARGO)" cross/crates.sh

memory: cross-amd64 ## memory, threads, processor and times of the static program: decoding, idle, under load, 1 GB, 400 MB, 20,000 tables (QUICK=1, SCENES="…")
	cross/memory.sh target/cross/amd64/rivulet $(MEMORY_MAX)
	tests/servers.sh fetch mariadb1011
	$(CARGO) build --release --features collector --bin rivulet-collector --example memory
	env QUICK=$(QUICK) SCENES="$(SCENES)" RIVULET_PROGRAM=$(CURDIR)/target/cross/amd64/rivulet target/release/examples/memory

man: ## the manual pages of both programs, from the text of --help: target/dist/man
	mkdir -p target/dist/man
	cross/man.sh rivulet > target/dist/man/rivulet.1
	cross/man.sh rivulet-collector > target/dist/man/rivulet-collector.1

image: cross-amd64 cross-arm64 ## OCI images for both architectures, without an engine; fails if one has more than 5 MB: target/dist/*.image.tar
	cross/package.sh image amd64
	cross/package.sh image arm64

deb: cross-amd64 cross-arm64 ## Debian packages for both architectures: target/dist/*.deb
	cross/package.sh deb amd64
	cross/package.sh deb arm64

dist: image deb ## all that is installed, archives too, and its checksums: target/dist
	cross/package.sh archive amd64
	cross/package.sh archive arm64
	cross/package.sh sums

package-test: image deb ## runs the images' programs, and installs, upgrades and purges the package in a small Debian, also under systemd; needs root
	cross/package-test.sh

reproducible: ## builds the x86-64 program here and in a second place, and fails if one byte differs
	CARGO="$(CARGO)" cross/reproducible.sh

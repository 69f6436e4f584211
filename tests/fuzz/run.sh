#!/usr/bin/env bash
# Fuzzes every target in turn, in rounds, until RUNS executions in total, or SECONDS for each: `run.sh RUNS SECONDS`.
# Whatever breaks a promise ends it at once, with the input's path. The targets are built without sanitizers: our
# code has no unsafe (the compiler forbids it), so that what they look for cannot be there.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${1:-} each=${2:-}
[ -n "$runs$each" ] || runs=10000000
here=target/fuzz
PATH="$PWD/target/tools/bin:$PATH"

cargo +nightly --version >/dev/null 2>&1 || {
    echo "fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal" >&2
    exit 1
}
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked --root target/tools
[ -d "$here/seeds" ] || {
    cargo build --quiet --features collector --example seeds
    target/debug/examples/seeds "$here/seeds.part"
    mv "$here/seeds.part" "$here/seeds"
}
cargo +nightly fuzz build --fuzz-dir tests/fuzz --target-dir "$here" --sanitizer none
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
targets=$(cargo +nightly fuzz list --fuzz-dir tests/fuzz)

total=0 round=${each:-10} began=$(date +%s)
while :; do
    for target in $targets; do
        mkdir -p "$here/corpus/$target" "$here/seeds/$target" "$here/found/$target"
        log=$here/found/$target.log
        if ! "$here/$host/release/$target" "$here/corpus/$target" "$here/seeds/$target" \
            -max_total_time="$round" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
            -artifact_prefix="$here/found/$target/" >"$log" 2>&1; then
            grep -A3 -m1 panicked "$log" || tail -n 20 "$log"
            echo "$target: found in $here/found/$target/ after $total executions of all targets" >&2
            exit 1
        fi
        count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        total=$((total + count))
        echo "$target: $count executions in $round s, $total in total after $(($(date +%s) - began)) s"
    done
    [ -z "$runs" ] && break
    [ "$total" -ge "$runs" ] && break
done
echo "no finding in $total executions of $(wc -w <<<"$targets") targets, in $(($(date +%s) - began)) s"

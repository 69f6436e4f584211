#!/bin/sh
# Holds what decoding costs: instructions for each row of the whole process that reads a log, checks its CRCs, splits
# its rows and interprets every value. Two logs are made, always the same; so is the count, to a few in a million.
set -eu
cd "$(dirname "$0")/../.."
scan=target/release/examples/scan
mkdir -p target/bench

hold() { # KIND MAX
    "$scan" generate "$1" "target/bench/gate-$1"
    rows=$("$scan" count "target/bench/gate-$1")
    all=$(tests/bench/instructions.sh "$scan" count "target/bench/gate-$1")
    each=$((all / rows))
    echo "gate: $1: $each instructions for each of $rows rows; at most $2"
    [ "$each" -le "$2" ] || { echo "gate: $1: decoding has become slower" >&2; failed=1; }
}

failed=0
hold oltp 5000
hold small 1300
exit $failed

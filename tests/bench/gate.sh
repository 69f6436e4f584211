#!/bin/sh
# Holds what decoding costs: instructions for each row of the whole process that reads a log, checks its CRCs, splits
# its rows and interprets every value; and the peak memory of `rivulet decode`. Two logs are made, always the same; so is the count, to a few in a million.
set -eu
cd "$(dirname "$0")/../.."
scan=target/release/examples/scan
mkdir -p target/bench

hold() { # KIND INSTRUCTIONS TRANSACTIONS
    "$scan" generate "$1" "target/bench/gate-$1"
    rows=$("$scan" count "target/bench/gate-$1")
    all=$(tests/bench/count.sh instructions "$scan" count "target/bench/gate-$1")
    each=$((all / rows))
    echo "gate: $1: $each instructions for each of $rows rows; at most $2"
    [ "$each" -le "$2" ] || { echo "gate: $1: decoding has become slower" >&2; failed=1; }
    # One for the GTID of each transaction, some for each table, none for a row or a value.
    calls=$(tests/bench/count.sh allocations "$scan" count "target/bench/gate-$1")
    echo "gate: $1: $calls calls for memory in $3 transactions; at most $(($3 + 200))"
    [ "$calls" -le "$(($3 + 200))" ] || { echo "gate: $1: decoding takes memory for rows" >&2; failed=1; }
}

# The peak memory of `rivulet decode`, as the kernel kept it: /proc is read while its output still waits for a reader.
hold_memory() { # LOG KIB
    fifo=target/bench/gate-fifo
    rm -f "$fifo" && mkfifo "$fifo"
    target/release/rivulet decode "$1" > "$fifo" &
    decode=$!
    exec 3< "$fifo"
    peak=0
    # Its output is far more than a pipe holds, so that it lives while a part of it is read.
    while [ "$(dd bs=65536 count=1 iflag=fullblock status=none <&3 | wc -c)" = 65536 ]; do
        now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$decode/status" 2> /dev/null || true)
        peak=${now:-$peak}
    done
    exec 3<&-
    wait "$decode" || { echo "gate: decode failed" >&2; failed=1; }
    echo "gate: decode: peak memory $peak KiB; at most $2"
    if [ "$peak" = 0 ] || [ "$peak" -gt "$2" ]; then
        echo "gate: decode takes too much memory" >&2
        failed=1
    fi
}

failed=0
hold oltp 5000 800
hold small 1300 1600
hold_memory target/bench/gate-oltp 6144
exit $failed

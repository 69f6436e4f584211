#!/bin/sh
# Tells how many crates the edge's program is made of, and fails if one of them is there for the collector alone: what
# its feature names in Cargo.toml, as a dependency of ours, or what makes certificates and calendars, of anybody's.
set -eu
cd "$(dirname "$0")/.."
tree() { ${CARGO:-cargo} tree --locked --edges normal --prefix none --format '{p}' "$@" | cut -d' ' -f1 | sort -u; }

ours=$(tree --depth 1)
all=$(tree)
failed=0
for crate in $(sed -n 's/^collector = //p' Cargo.toml | grep -o 'dep:[a-z0-9_-]*' | cut -d: -f2); do
    if echo "$ours" | grep -qx "$crate"; then echo "crates: the edge depends on $crate, which is the collector's" >&2; failed=1; fi
done
for crate in rcgen time; do
    if echo "$all" | grep -qx "$crate"; then echo "crates: the edge contains $crate" >&2; failed=1; fi
done
echo "crates: $(echo "$all" | wc -l) in the edge's program, none of the collector's own"
exit $failed

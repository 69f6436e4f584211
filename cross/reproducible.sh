#!/bin/bash
# Proves that the program follows from the commit alone: builds what is committed in a second place, with a second folder for
# cargo's files and without anything that was built before, and compares.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
die() { echo "reproducible.sh: $*" >&2; exit 1; }
sha() { sha256sum < "$1" | cut -c 1-64; }
[ -z "$(git status --porcelain -- src cross Cargo.toml Cargo.lock)" ] || die "commit first: the second build is of the last commit"

here=$PWD cargo_home=${CARGO_HOME:-$HOME/.cargo}
export CROSS_ROOT=${CROSS_ROOT:-$here/target/cross-tools}
mkdir -p "$CROSS_ROOT"
there=$(mktemp -d /tmp/rivulet-built-elsewhere-XXXXXX); trap 'rm -rf "$there"' EXIT
mkdir -p "$there/a/longer/path" "$there/cargo"
git archive HEAD | tar -x -C "$there/a/longer/path"
for part in "$cargo_home"/*; do ln -s "$part" "$there/cargo/"; done

cross/build.sh amd64 > /dev/null
( cd "$there/a/longer/path" && CARGO_HOME=$there/cargo CARGO=${CARGO:-cargo} cross/build.sh amd64 > /dev/null )
one=target/cross/amd64/rivulet two=$there/a/longer/path/target/cross/amd64/rivulet
echo "reproducible: $(sha "$one")  built in $here"
echo "reproducible: $(sha "$two")  built in $there/a/longer/path"
if ! cmp -s "$one" "$two"; then
  cp "$two" target/cross/amd64/rivulet.other
  die "the programs differ; the second is kept as target/cross/amd64/rivulet.other"
fi
for path in "$here" "$there" "$cargo_home" "$CROSS_ROOT"; do
  ! grep -qaF "$path" "$one" || die "the program names a path of this machine: $path"
done
echo "reproducible: the same, and no path of this machine in it"

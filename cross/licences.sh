#!/bin/bash
# Prints the licences of all that is linked into the edge's program: a line for each crate with its SPDX expression, as cargo
# tells it, and then the texts that come with the crates, each once. Where a crate leaves the choice (OR) and MIT is
# among it, MIT's text alone is printed.
#
#   licences.sh amd64|arm64
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
die() { echo "licences.sh: $*" >&2; exit 1; }
case ${1:-} in
  amd64) target=x86_64-unknown-linux-musl ;;
  arm64) target=aarch64-unknown-linux-musl ;;
  *) die "amd64 or arm64?" ;;
esac
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir "$work/texts"

linked() { # NAME VERSION LICENCE of each crate
  ${CARGO:-cargo} tree --quiet --locked --edges normal,no-proc-macro --target $target --prefix none --format '{p}|{l}' > "$work/tree"
  sed -E 's/^([^ ]+) v([^ |]+)[^|]*\|(.*)$/\1 \2 \3/; s/ \(\*\)$//; s/ *$//' "$work/tree" | sort -u | grep -v '^rivulet '
}
folder() { # NAME VERSION: where the crate's source lies
  local candidate
  for candidate in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1-$2"; do
    if [ -d "$candidate" ]; then echo "$candidate"; return; fi
  done
  die "no source of $1 $2 in cargo's home: run cargo fetch"
}
files() { # FOLDER LICENCE: the texts that count
  local all mit
  all=$(find "$1" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' -o -iname 'notice*' -o -iname 'unlicense*' \) ! -name '*.rs' | sort)
  mit=$(echo "$all" | grep -iE 'mit[^/]*$' || true)
  case $2 in
    *AND*) echo "$all" ;;
    *MIT*) if [ -n "$mit" ]; then echo "$mit"; else echo "$all"; fi ;;
    *) echo "$all" ;;
  esac
}
note() { # NAME VERSION FILE: the file's text is one of that crate's
  local sum; sum=$(sha256sum < "$3" | cut -c 1-64)
  cp "$3" "$work/texts/$sum"; chmod u+w "$work/texts/$sum"
  echo "$1 $2" >> "$work/texts/$sum.of"
}

linked > "$work/linked"
while read -r name version licence; do
  [ -n "$licence" ] || die "$name $version tells no licence"
  source=$(folder "$name" "$version")
  files "$source" "$licence" > "$work/files"
  # C code that a crate brings along has a licence of its own.
  if [ "$name" = zstd-sys ]; then echo "$source/zstd/LICENSE" >> "$work/files"; fi
  while read -r file; do
    if [ -n "$file" ]; then note "$name" "$version" "$file"; fi
  done < "$work/files"
done < "$work/linked"

cat << END
Rivulet is MIT OR Apache-2.0, see LICENSE. Linked into the program are:

$(awk '{ licence = $3; for (i = 4; i <= NF; i++) licence = licence " " $i; printf "%-36s %s\n", $1 " " $2, licence }' "$work/linked")

the Rust standard library              MIT OR Apache-2.0
musl libc                              MIT
SQLite (in libsqlite3-sys)             in the public domain
Zstandard (in zstd-sys)                BSD-3-Clause
parts of libgcc (where it unwinds)     GPL-3.0-or-later WITH GCC-exception-3.1

Texts follow, as they come with the crates.
END
for of in "$work"/texts/*.of; do
  echo; echo "================================================================================"
  paste -sd, "$of" | sed 's/,/, /g' | fold -s -w 110; echo
  # Not all end their last line.
  sed -e 's/\r$//' -e '$a\' "${of%.of}"
done

#!/bin/sh
# Proves from its ELF header that a program is of an architecture, static and stripped: 64 bits, the right machine, no
# interpreter, no section with symbols.
#
#   static.sh amd64|arm64 PROGRAM
set -eu
arch=$1 program=$2
die() { echo "static.sh: $program: $*" >&2; exit 1; }
number() { od -An -v -t "u$2" -j "$1" -N "$2" "$program" | tr -d ' '; } # OFFSET BYTES, little-endian as this machine
case $arch in amd64) machine=62 ;; arm64) machine=183 ;; *) die "no architecture '$arch'" ;; esac

[ "$(od -An -v -t x1 -N 6 "$program" | tr -d ' ')" = 7f454c460201 ] || die "no little-endian ELF file of 64 bits"
[ "$(number 18 2)" = $machine ] || die "made for machine $(number 18 2), not $machine ($arch)"
each() { # TABLE_OFFSET ENTRY_BYTES COUNT TYPE_OFFSET: the type of each entry
    i=0
    while [ $i -lt "$3" ]; do number $(($1 + i * $2 + $4)) 4; i=$((i + 1)); done
}
segments=$(each "$(number 32 8)" "$(number 54 2)" "$(number 56 2)" 0)
sections=$(each "$(number 40 8)" "$(number 58 2)" "$(number 60 2)" 4)
echo "$segments" | grep -qx 1 || die "loads nothing"
! echo "$segments" | grep -qx 3 || die "not static: it names an interpreter"
! echo "$sections" | grep -qx 2 || die "not stripped: it has a table of symbols"
echo "cross: $program: $arch, static, stripped, $(wc -c < "$program") bytes"

#!/bin/sh
# The number of instructions that a program executes, its start included, or of its calls for memory, as valgrind
# counts them.
#
#   count.sh instructions|allocations PROGRAM ARGUMENT…      prints the number; what the program prints is left out
#
# Where there is no valgrind it is installed if this is root, and otherwise unpacked in target/valgrind; both through
# the Debian mirror that this machine's apt already uses. If it cannot be had, this fails.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
own=$here/target/valgrind

die() { echo "count.sh: $*" >&2; exit 1; }

if ! command -v valgrind > /dev/null && [ ! -x "$own/usr/bin/valgrind" ]; then
    command -v apt-get > /dev/null || die "no valgrind, and no apt-get to fetch it with: install valgrind"
    if [ "$(id -u)" = 0 ]; then
        echo "count.sh: no valgrind: installing Debian's package valgrind with apt-get" >&2
        { apt-get -qq update && apt-get -qq install --no-install-recommends -y valgrind; } >&2 ||
            die "apt-get install valgrind failed (see above)"
    else
        echo "count.sh: no valgrind: fetching Debian's package valgrind into target/valgrind" >&2
        rm -rf "$own" && mkdir -p "$own"
        (cd "$own" && apt-get -qq download valgrind) >&2 || die "apt-get download valgrind failed (see above)"
        dpkg-deb -x "$own"/valgrind_*.deb "$own" || die "the package valgrind cannot be unpacked"
    fi
fi
if command -v valgrind > /dev/null; then
    valgrind=valgrind
else
    valgrind=$own/usr/bin/valgrind
    # Where the package puts its tools; older ones say lib.
    for VALGRIND_LIB in "$own/usr/libexec/valgrind" "$own/usr/lib/x86_64-linux-gnu/valgrind" "$own/usr/lib/valgrind"; do
        [ -d "$VALGRIND_LIB" ] && break
    done
    export VALGRIND_LIB
fi

what=$1
shift
case $what in
instructions) set -- --tool=callgrind --callgrind-out-file=/dev/null -- "$@"
    line='s/^==[0-9]*== Collected : \([0-9]*\).*/\1/p' ;;
allocations) set -- --tool=memcheck --leak-check=no -- "$@"
    line='s/^==[0-9]*== *total heap usage: \([0-9,]*\) allocs.*/\1/p' ;;
*) die "instructions or allocations?" ;;
esac
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$valgrind" --log-file="$log" "$@" > /dev/null || { cat "$log" >&2; die "it failed under valgrind"; }
sed -n "$line" "$log" | tr -d , | grep . || { cat "$log" >&2; die "valgrind counted nothing"; }

#!/bin/sh
# The systemd units, looked at by systemd itself: that it finds no fault in them, and how much of the machine is open to
# each (0 is nothing, 10 is all), which must not exceed MOST.
#
# Environment: UNITS   the folder with the units (default: this one)
#              MOST    in tenths (default: 15)
set -eu
units=${UNITS:-$(cd "$(dirname "$0")" && pwd)}
most=${MOST:-15}
die() { echo "units.sh: $*" >&2; exit 1; }

if ! command -v systemd-analyze > /dev/null; then
  echo "units.sh: NOT looked at: this machine has no systemd-analyze; \`make package-test\` brings one"
  exit 0
fi
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

for unit in "$units"/*.service; do
  name=$(basename "$unit")
  # The program need not be installed here, but systemd wants to see one.
  sed 's#^ExecStart=/usr/bin/rivulet[a-z-]*#ExecStart=/bin/true#' "$unit" > "$work/$name"
  systemd-analyze verify --man=no "$work/$name" > "$work/said" 2>&1 || { cat "$work/said" >&2; die "$name: systemd finds fault"; }
  # It only warns of a key that it does not know.
  ! grep "$name" "$work/said" >&2 || die "$name: systemd finds fault"
  systemd-analyze security --offline=yes --threshold="$most" --no-pager "$work/$name" > "$work/said" 2>&1 ||
    { grep '✗' "$work/said" >&2; tail -n 1 "$work/said" >&2; die "$name: more than $most tenths"; }
  grep -o 'Overall exposure level.*' "$work/said" | tr -dc '[:print:]\n'
done

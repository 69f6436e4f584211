#!/bin/bash
# The program for ARM64 on a machine that is none, emulated by qemu: that it starts, that it decodes a log to the same
# lines as the native one, and that nothing is lost between a real MariaDB, this agent and a native collector, over
# QUIC, while both ends are killed again and again (tests/chaos.rs).
#
# Environment: KILLS, TRANSACTIONS (default: 20 and 2000), SEED as for tests/chaos.rs.
set -euo pipefail
cd "$(dirname "$0")/.."
die() { echo "cross/test.sh: $*" >&2; exit 1; }

program=$PWD/$(cross/build.sh arm64)
if [ "$(uname -m)" = aarch64 ]; then
  edge=$program
else
  qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || cross/tools.sh qemu)
  edge=$PWD/target/cross/arm64/emulated
  # exec: who kills what this started kills the program.
  printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$qemu" "$program" > "$edge"; chmod +x "$edge"
fi
echo "cross: $("$edge" --version), arm64"

cargo=${CARGO:-cargo}
$cargo build --quiet --features collector --bins
out=target/cross/test
# Debezium's lines hold the time at which they were made.
decode() { "$1" decode $2 tests/run/sample.000001 | sed 's/,"ts_ms":[0-9]*,"ts_us":[0-9]*,"ts_ns":[0-9]*}$/}/'; }
for options in "--format debezium" "--format text" --stats; do
  decode "$edge" "$options" > $out.arm64
  decode target/debug/rivulet "$options" > $out.native
  cmp $out.arm64 $out.native || die "decode $options: not what the native program says"
  echo "cross: decode $options: $(wc -c < $out.arm64) bytes, as the native program says"
done

tests/servers.sh fetch mariadb1011
SERVERS=mariadb1011 RIVULET_PROGRAM=$edge KILLS=${KILLS:-20} TRANSACTIONS=${TRANSACTIONS:-2000} \
  $cargo test --quiet --features collector --test chaos -- --nocapture any_trouble_loses_nothing_and_repeats_nothing

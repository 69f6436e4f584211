#!/bin/bash
# Builds the edge's program for machines with nothing but a Linux kernel: one static, stripped file.
#
#   build.sh amd64|arm64 [without-decode]      prints the path of the program: target/cross/ARCH/rivulet[-without-decode]
#
# It says which way it takes, and never changes the machine's toolchains. The first that is possible:
#   1. Where `rustup target add` was done: cargo, and as compiler of C what CC_<target> names, else cargo-zigbuild,
#      else a gcc for musl (aarch64-linux-musl-gcc, x86_64-linux-musl-gcc, musl-gcc), else gcc as tools.sh fetches it.
#   2. Elsewhere rustc and the source of its library as tools.sh fetches them: the library is built with the program.
#
# Environment: WAY=1 or 2 leaves no choice; CROSS_ROOT as for tools.sh.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/.."
say() { echo "cross: $*" >&2; }
die() { say "$*"; exit 1; }

arch=${1:-} variant=${2:-}
case $arch in
  amd64) target=x86_64-unknown-linux-musl gccs="x86_64-linux-musl-gcc musl-gcc" ;;
  arm64) target=aarch64-unknown-linux-musl gccs=aarch64-linux-musl-gcc ;;
  *) sed -n '2,11p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
case $variant in
  '') features=() ;;
  without-decode) features=(--no-default-features) ;;
  *) die "no variant '$variant'" ;;
esac
under=${target//-/_} upper=$(echo "${target//-/_}" | tr a-z A-Z)
set_for() { export "$1=${!1:-$2}"; } # what the caller has set stays

# Of SQLite, only what the buffer uses.
set_for LIBSQLITE3_FLAGS "-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS -USQLITE_ENABLE_FTS5 -USQLITE_ENABLE_RTREE
  -USQLITE_ENABLE_DBSTAT_VTAB -USQLITE_ENABLE_STAT4 -USQLITE_ENABLE_COLUMN_METADATA -USQLITE_ENABLE_LOAD_EXTENSION
  -USQLITE_SOUNDEX -DSQLITE_OMIT_LOAD_EXTENSION -DSQLITE_OMIT_JSON -DSQLITE_OMIT_DEPRECATED -DSQLITE_OMIT_SHARED_CACHE"
# No path of this machine gets into the file, neither Rust's (what a panic says of its place) nor C's (__FILE__): wherever
# it is built, it is the same (make reproducible).
flags="--remap-path-prefix=$PWD=rivulet" cflags=-ffile-prefix-map=$PWD=rivulet
for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
  flags+=" --remap-path-prefix=$folder=" cflags+=" -ffile-prefix-map=$folder="
done
# A panic ends the program, so nothing ever unwinds, neither Rust nor C: the tables for it would be a tenth of the file.
# Of zstd, not the strategies that levels above 4 have and a batch is never compressed with (`zstd_level`).
for strategy in GREEDY LAZY LAZY2 BTLAZY2 BTOPT BTULTRA; do cflags+=" -DZSTD_EXCLUDE_${strategy}_BLOCK_COMPRESSOR"; done
export "CFLAGS_$under=-fno-asynchronous-unwind-tables -fno-unwind-tables $cflags"
flags+=" -C force-unwind-tables=no"
# Of what is compiled for speed, most is not on a row's way: to inline less costs a row little, and spares 130 kB.
flags+=" -C llvm-args=-inline-threshold=70"
export CARGO_TARGET_DIR=target/cross

installed() { # whether rustc has its library for the target
  local folder; folder=$(rustc --print target-libdir --target "$target" 2> /dev/null) && ls "$folder"/libstd-*.rlib > /dev/null 2>&1
}
compiler() { # of C, for way 1: leaves the cargo command in $build
  local gcc cc=CC_$under
  build=(build)
  if [ -n "${!cc:-}" ]; then say "$arch: the target is installed; C by ${!cc}, as CC_$under says"; return; fi
  if command -v cargo-zigbuild > /dev/null; then build=(zigbuild); say "$arch: the target is installed; C by cargo-zigbuild"; return; fi
  for gcc in $gccs; do
    command -v "$gcc" > /dev/null || continue
    say "$arch: the target is installed; C by $gcc"
    export "$cc=$gcc"; [ "$gcc" = musl-gcc ] || set_for "CARGO_TARGET_${upper}_LINKER" "$gcc"; return
  done
  say "$arch: the target is installed; C by gcc with musl's headers from Debian's packages"
  fetched_gcc
}
fetched_gcc() {
  local cc ar ld; cc=$("$HERE/tools.sh" cc $arch); ar=$("$HERE/tools.sh" ar $arch); ld=$("$HERE/tools.sh" ld $arch)
  export "CC_$under=$cc" "AR_$under=$ar" "CARGO_TARGET_${upper}_LINKER=$ld"
}
library() { # for way 2
  say "$arch: the target is not installed (rustup target add $target); by rustc, musl and gcc from Debian's packages"
  RUSTC=$("$HERE/tools.sh" rust); "$HERE/tools.sh" begin $arch; fetched_gcc
  # The library's source is built by a released rustc as its own makers do.
  export RUSTC RUSTC_BOOTSTRAP=1 CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER; CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=$("$HERE/tools.sh" ld amd64)
  # Nor does it carry what reads tables for unwinding, of which there are none.
  build=(build -Zbuild-std=std,panic_abort -Zbuild-std-features=)
}
way=${WAY:-$(if installed; then echo 1; else echo 2; fi)}
case $way in
  1) installed || die "the target is not installed: rustup target add $target"; compiler ;;
  2) library ;;
  *) die "WAY is '$way', must be 1 or 2" ;;
esac
# The library's source may lie below this folder, and is then told from here on or in full; of several prefixes that fit, the
# last counts.
source=$("${RUSTC:-rustc}" --print sysroot)/lib/rustlib/src/rust
flags+=" --remap-path-prefix=$source=/rust --remap-path-prefix=${source#"$PWD/"}=/rust"
export "CARGO_TARGET_${upper}_RUSTFLAGS=$flags"
${CARGO:-cargo} "${build[@]}" --locked --release --bin rivulet --target "$target" "${features[@]}" >&2

program=target/cross/$arch/rivulet${variant:+-$variant}
mkdir -p "target/cross/$arch"
cp "target/cross/$target/release/rivulet" "$program.new" && mv "$program.new" "$program"
"$HERE/static.sh" $arch "$program" >&2
echo "$program"

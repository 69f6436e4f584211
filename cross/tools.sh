#!/bin/bash
# A compiler for static programs where no Rust target can be downloaded: rustc with its library's source, musl and gcc for
# both architectures, as packages of Debian 12 through the mirror that this machine's apt already uses. All lies in
# one folder; nothing is installed, and neither apt, dpkg nor rustup of this machine learn of it. No root needed.
#
#   tools.sh rust               fetches rustc and the source of its library; prints the path of rustc
#   tools.sh begin amd64|arm64  gives that rustc what a static program needs to begin and to unwind
#   tools.sh cc amd64|arm64     fetches musl, and gcc for arm64; prints the path of a C compiler
#   tools.sh ld|ar amd64|arm64  prints the path of what links and archives
#   tools.sh qemu               fetches an emulator of arm64; prints its path
#   tools.sh debootstrap        fetches what makes a small Debian in a folder; prints where that lies
#
# Environment: CROSS_ROOT   where everything lives (default: target/cross-tools of the project)
#              DEB_MIRROR, DEB_SECURITY_MIRROR, DEB_KEYRING (default: what this machine's apt uses)
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=${CROSS_ROOT:-$HERE/../target/cross-tools}
mkdir -p "$ROOT"; ROOT=$(cd "$ROOT" && pwd)
say() { echo "cross/tools.sh: $*" >&2; }
die() { say "$*"; exit 1; }
. "$HERE/debian.sh"

fetch() { # NAME PACKAGE...: unpacked in $ROOT/NAME, once; a name that ends in - stands for those that begin with it
  local name=$1; shift
  [ -e "$ROOT/$name/.ok" ] && return
  can_fetch "$name" apt-get apt-cache dpkg-deb tar flock; can_fetch_updates "$name"
  ( flock 9; [ -e "$ROOT/$name/.ok" ] || fetch_locked "$name" "$@" ) 9> "$ROOT/.lock-$name"
}

fetch_locked() {
  local name=$1 r=$ROOT/$1 a=$ROOT/.apt-$1 t0=$SECONDS; shift
  rm -rf "$r" "$a"; mkdir -p "$r"
  apt_of_its_own "$a" "deb [signed-by=$KEYRING] $MIRROR bookworm main
deb [signed-by=$KEYRING] $SECMIRROR bookworm-security main" amd64 arm64
  say "fetching $name through this machine's Debian mirror into $ROOT; nothing is installed"
  ( export APT_CONFIG=$a/apt.conf
    apt-get -qq update || die "cannot fetch $name: the package lists could not be read (see above)"
    cd "$a/debs" && apt-get -qq download $(resolve "$@") ) >&2 || die "cannot fetch $name: a download failed (see above)"
  local deb
  for deb in "$a"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$r" --keep-directory-symlink --no-same-owner --no-wildcards-match-slash \
      --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' \
      --exclude='./usr/src/rustc-*/compiler' --exclude='./usr/src/rustc-*/src' \
      --exclude='./usr/lib/gcc-cross/*/*/*san*' --exclude='./usr/bin/qemu-[b-z]*' --exclude='./usr/bin/qemu-a[b-z]*'
  done
  local bytes; bytes=$(du -cb "$a"/debs/*.deb | tail -n 1 | cut -f 1)
  ( cd "$a/debs" && ls *.deb ) > "$r/.ok"; rm -rf "$a"
  say "$name: downloaded $((bytes / 1000000)) MB, unpacked $(du -sm "$r" | cut -f 1) MB, $((SECONDS - t0)) s"
}

resolve() { # the packages in the versions that belong together: those of the newest rustc
  local newest release package
  newest=$(apt-cache policy rustc-web | sed -n 's/^ *Candidate: //p')
  release=$(echo "$newest" | cut -d. -f1,2)
  for package; do
    case $package in
    libstd-rust-web) echo "libstd-rust-web-$release=$newest" ;;
    libllvm) apt-cache show "libstd-rust-web-$release=$newest" | grep -o 'libllvm[0-9]*' | head -n 1 ;;
    *rust*) echo "$package=$newest" ;;
    *) echo "$package" ;;
    esac
  done
}

wrapper() { # PATH COMMAND: a program that runs another, in its place at once; prints its path
  printf '#!/bin/sh\n%s\n' "$2" > "$1.$$"; chmod +x "$1.$$"; mv "$1.$$" "$1"; echo "$1"
}

# What is fetched and not on every machine with a C compiler and apt: the rest of rustc's libraries, and gcc's.
libraries() { echo "$ROOT/$1/usr/lib/x86_64-linux-gnu"; }

rust() {
  fetch rust rustc-web libstd-rust-web libstd-rust-web-dev libllvm rust-web-src \
    libz3-4 libxml2 libicu72 libedit2 libbsd0 libmd0 libtinfo6 libffi8
  local r=$ROOT/rust/usr
  wrapper "$ROOT/rustc" "LD_LIBRARY_PATH='$(libraries rust)' exec '$r/bin/rustc' --sysroot '$r' \"\$@\""
}

musl() { case $1 in amd64) echo x86_64-linux-musl ;; arm64) echo aarch64-linux-musl ;; esac; }

gcc_arm64() {
  fetch gcc-arm64 gcc-12-aarch64-linux-gnu cpp-12-aarch64-linux-gnu binutils-aarch64-linux-gnu libgcc-12-dev-arm64-cross \
    libisl23 libmpc3 libmpfr6 libgmp10 libjansson4
}

tool() { # ARCH PROGRAM PATH: this machine's, or what was fetched; without the libraries that rustc was given
  case $1 in
  amd64) command -v "$2" > /dev/null || die "this machine has no $2"
    wrapper "$ROOT/amd64-$2" "unset LD_LIBRARY_PATH; exec $2 \"\$@\"" ;;
  arm64) gcc_arm64
    wrapper "$ROOT/arm64-$2" "LD_LIBRARY_PATH='$(libraries gcc-arm64)' exec '$ROOT/gcc-arm64/usr/bin/aarch64-linux-gnu-$3' \"\$@\"" ;;
  esac
}
ld() { tool "$1" gcc gcc-12; }
ar() { tool "$1" ar ar; }

cc() { # gcc with musl's headers in the place of glibc's
  fetch musl musl-dev musl-dev:arm64
  local m=$ROOT/musl/usr l gcc; l=$(musl "$1"); gcc=$(ld "$1")
  sed "s#/usr/include/#$m/include/#g; s#/usr/lib/$l#$m/lib/$l#g" "$m/lib/$l/musl-gcc.specs" > "$ROOT/$1.specs"
  wrapper "$ROOT/$1-musl-gcc" "exec '$gcc' \"\$@\" -specs '$ROOT/$1.specs'"
}

begin() { # musl's libc with gcc's begin, end and unwinder, where rustc looks for them
  rust > /dev/null
  local gcc cc ar file triple; gcc=$(ld "$1"); cc=$(cc "$1"); ar=$(ar "$1"); triple=$(musl "$1"); triple=${triple/-/-unknown-}
  local d=$ROOT/rust/usr/lib/rustlib/$triple/lib/self-contained
  [ ! -e "$d/.ok" ] || return 0
  rm -rf "$d"; mkdir -p "$d"
  cp "$ROOT/musl/usr/lib/$(musl "$1")"/{*.o,libc.a} "$d/"
  for file in crtbegin.o crtbeginS.o crtend.o crtendS.o; do cp "$("$gcc" -print-file-name=$file)" "$d/"; done
  "$cc" -O2 -c "$HERE/find_object.c" -o "$d/find_object.o"
  printf 'create %s\naddlib %s\naddlib %s\naddmod %s\nsave\nend\n' "$d/libunwind.a" \
    "$("$gcc" -print-file-name=libgcc_eh.a)" "$("$gcc" -print-libgcc-file-name)" "$d/find_object.o" | "$ar" -M
  rm "$d/find_object.o"; : > "$d/.ok"
}

qemu() { fetch qemu qemu-user-static; echo "$ROOT/qemu/usr/bin/qemu-aarch64-static"; }

debootstrap() { fetch debootstrap debootstrap; echo "$ROOT/debootstrap/usr"; }

case $*,$# in
  rust,1 | qemu,1 | debootstrap,1) "$1" ;;
  cc\ a[mr][dm]64,2 | ld\ a[mr][dm]64,2 | ar\ a[mr][dm]64,2 | begin\ a[mr][dm]64,2) "$@" ;;
  *) sed -n '2,15p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac

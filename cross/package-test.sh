#!/bin/bash
# Installs what package.sh makes and lives with it, as root, in mounts of its own:
#
#   package-test.sh image   unpacks the images' layers and runs their programs in them, ARM64's by an emulator, down to
#                           a collector that gets all changes of a binlog
#   package-test.sh deb     in a small Debian of its own (debootstrap): install, start, stop, upgrade with a full buffer,
#                           start, remove, purge; and what systemd says of the units
#   package-test.sh systemd the same Debian with systemd as its first process, in namespaces of its own: the unit's limits
#                           let the program work, a hanging one is killed and started anew, an upgrade restarts it
#   package-test.sh         all three
#
# The images and packages must be there: make image deb.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
die() { echo "package-test.sh: $*" >&2; exit 1; }
say() { echo "package-test: $*"; }
[ "$(id -u)" = 0 ] || die "must be root: it makes users and changes roots"
first() { # ROOT: becomes its systemd; run in namespaces of its own
  mount --bind "$1" "$1"
  mount -t proc proc "$1/proc"
  mount --bind "$1/proc/sys" "$1/proc/sys"; mount -o remount,bind,ro "$1/proc/sys"
  mount -t sysfs -o ro sysfs "$1/sys"; mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"
  mount -t tmpfs tmpfs "$1/run"
  mount --bind /dev/null "$1/dev/console"
  # Not chroot, for who was put into one makes no namespaces for its users.
  cd "$1"; pivot_root . mnt; umount -l /mnt; cd /
  exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-sys_boot,-syslog,-audit_control,-wake_alarm \
    env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=basic.target
}
case ${1:-} in
  --first) first "$2" ;;
  --inside) shift ;;
  # Whatever happens, no mount is left over.
  *) exec unshare --mount --propagation private "$PWD/cross/package-test.sh" --inside "$@" ;;
esac

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
newer=$version+1
work=$(mktemp -d); chmod 755 "$work"
running=() groups=
forget_groups() { # of what was killed a moment ago
  local i
  for i in $(seq 1 50); do
    find "$groups" -depth -type d -exec rmdir {} + 2> /dev/null || true
    if [ ! -e "$groups" ]; then break; fi
    sleep 0.1
  done
  umount "$work/cgroups"; groups=
}
end() {
  local pid
  for pid in "${running[@]}"; do kill -9 "$pid" 2> /dev/null || true; done
  umount -R "$work"/*/proc 2> /dev/null || true
  if [ -n "$groups" ]; then forget_groups; fi
  rm -rf --one-file-system "$work"
}
trap end EXIT

# --- both ends: the centre is this machine's, the agent's configuration lies in the root that is tried

pid=
start() { # LOG COMMAND...: leaves its number in $pid
  local log=$1; shift
  "$@" > "$log" 2>&1 < /dev/null &
  pid=$!; running+=("$pid")
}
stop() { # PID WHAT LOG: in good order
  kill -TERM "$1"
  wait "$1" || { cat "$3" >&2; die "$2 did not end in good order"; }
}
wait_for() { # WHAT COMMAND...
  local what=$1 i; shift
  for i in $(seq 1 300); do if "$@"; then return 0; fi; sleep 0.2; done
  tail -n 20 "$work"/*.log >&2; die "waited in vain: $what"
}
collector() { # FOLDER: keys and a configuration
  local programs=target/debug pki=$1/pki
  port=$((20000 + RANDOM % 10000))
  mkdir -p "$1"; install -d -m 700 "$1/data" "$1/changes"
  "$programs/rivulet-collector" pki init --dir "$pki" > /dev/null
  "$programs/rivulet-collector" pki collector localhost --dir "$pki" > /dev/null
  "$programs/rivulet-collector" pki agent edge-1 --dir "$pki" > /dev/null
  cat > "$1/collector.toml" << END
data_dir = "$1/data"
[listen]
quic = "127.0.0.1:$port"
tls = "off"
ca = "$pki/ca.pem"
certificate = "$pki/collector.pem"
key = "$pki/collector.key"
[[sink]]
name = "changes"
kind = "file"
directory = "$1/changes"
END
}
agent() { # ROOT FOLDER USER: what the administrator writes
  local e=$1/etc/rivulet
  install -m 644 "$2/pki/ca.pem" "$e/ca.pem"
  install -m 644 "$2/pki/agents/edge-1.pem" "$e/agent.pem"
  install -m 600 -o "$3" "$2/pki/agents/edge-1.key" "$e/agent.key"
  install -m 644 tests/run/sample.000001 "$e/sample.000001"
  cat > "$e/agent.toml" << END
agent = "edge-1"
[source]
kind = "files"
path = "/etc/rivulet/sample.000001"
follow = true
[uplink]
endpoint = "quic://127.0.0.1:$port"
server_name = "localhost"
ca = "/etc/rivulet/ca.pem"
certificate = "/etc/rivulet/agent.pem"
key = "/etc/rivulet/agent.key"
END
}
lines() { find "$1/changes" -type f \( -name '*.jsonl' -o -name '*.json' \) -exec cat {} + | wc -l; }
all_lines() { [ "$(lines "$1")" = "$expected" ]; }
drained() { "$@" status 2> /dev/null | grep -q 'buffer .*; 0 batches, 0 rows wait'; }
filled() { "$@" status 2> /dev/null | grep -q 'buffer .*: [1-9][0-9]* staged, 0 acknowledged; [1-9]'; }

# --- images

digest() { # LAYOUT TEXT: the blob that a text names first, checked
  local sum; sum=$(sed 's/.*"digest":"sha256:\([0-9a-f]*\)".*/\1/' <<< "$2")
  [ "$(sha256sum < "$1/blobs/sha256/$sum" | cut -c 1-64)" = "$sum" ] || die "a blob of the image is not what its name says"
  echo "$1/blobs/sha256/$sum"
}
image() { # ARCH
  local arch=$1 l=$work/layout-$1 r=$work/image-$1 c=$work/centre-$1 manifest layer settings run=()
  mkdir -p "$l" "$r"
  tar -x -C "$l" -f "target/dist/rivulet-$version-$arch.image.tar"
  manifest=$(digest "$l" "$(cat "$l/index.json")")
  settings=$(digest "$l" "$(sed 's/"layers".*//' "$manifest")")
  layer=$(digest "$l" "$(sed 's/.*"layers"//' "$manifest")")
  [ "$(zcat "$layer" | sha256sum | cut -c 1-64)" = "$(sed 's/.*"diff_ids":\["sha256:\([0-9a-f]*\).*/\1/' "$settings")" ] ||
    die "the layer is not what the image's configuration says"
  grep -q '"User":"65532:65532"' "$settings" || die "the image runs as root"
  tar -x --same-owner --same-permissions -z -C "$r" -f "$layer"
  find "$r" -type f -printf '  %m %U:%G %s /%P\n'
  run=(chroot --userspec=65532:65532 "$r")
  if [ "$arch" = arm64 ] && [ "$(uname -m)" != aarch64 ]; then
    install -m 755 "$(command -v qemu-aarch64-static || cross/tools.sh qemu)" "$r/qemu"; run+=(/qemu)
  fi
  run+=(/usr/bin/rivulet)
  [ "$("${run[@]}" --version)" = "rivulet $(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)" ] || die "$arch: --version"
  "${run[@]}" --help | grep -q '^USAGE' || die "$arch: --help"
  mkdir "$r/proc"; mount -t proc proc "$r/proc"
  collector "$c"; agent "$r" "$c" 65532
  "${run[@]}" check --config /etc/rivulet/agent.toml
  start "$work/collector-$arch.log" target/debug/rivulet-collector serve --config "$c/collector.toml"; local centre=$pid
  start "$work/agent-$arch.log" "${run[@]}" agent --config /etc/rivulet/agent.toml; local edge=$pid
  wait_for "$arch: $expected lines" all_lines "$c"
  wait_for "$arch: an empty buffer" drained "${run[@]}"
  stop "$edge" "the agent" "$work/agent-$arch.log"; stop "$centre" "the collector" "$work/collector-$arch.log"
  umount "$r/proc"
  say "image $arch: runs as 65532, $(lines "$c") of $expected changes arrived"
}

# --- Debian package

debian() { # ROOT: a small Debian; made once, copied for each test
  local made=target/cross-tools/debian
  if [ ! -e "$made/.ok" ]; then
    local tool; tool=$(cross/tools.sh debootstrap)
    . cross/debian.sh
    say "makes a small Debian in $made"
    rm -rf "$made"; mkdir -p "$made"
    DEBOOTSTRAP_DIR=$tool/share/debootstrap sh "$tool/sbin/debootstrap" --variant=minbase --include=systemd \
      --keyring="$KEYRING" bookworm "$made" "$MIRROR" > target/debootstrap.log || { tail -n 20 target/debootstrap.log >&2; die "no Debian"; }
    rm -rf "$made"/var/cache/apt "$made"/var/lib/apt/lists; touch "$made/.ok"
  fi
  cp -a "$made" "$1"
  mount -t proc proc "$1/proc"
}
dpkg_in() { # ROOT ARGUMENT...
  local r=$1; shift
  chroot "$r" env DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin dpkg "$@" > "$work/dpkg.log" 2>&1 ||
    { cat "$work/dpkg.log" >&2; die "dpkg $* failed"; }
}
in_root() { chroot "$r" "$@"; }

packages() { # ROOT: two versions
  cp "target/dist/rivulet_${version}_amd64.deb" "$1/srv/old.deb"
  cp "$(VERSION=$newer DIST=$work/dist cross/package.sh deb amd64 2> /dev/null)" "$1/srv/new.deb"
}
deb() {
  local r=$work/debian c=$work/centre-deb run
  debian "$r"; packages "$r"

  dpkg_in "$r" --install /srv/old.deb
  [ "$(in_root dpkg-query -W -f '${Status} ${Version}' rivulet)" = "install ok installed $version" ] || die "not installed"
  in_root dpkg --verify rivulet || die "what is installed is not what the package says"
  [ "$(in_root stat -c '%a %U:%G' /var/lib/rivulet)" = "700 rivulet:rivulet" ] || die "the state folder is not the user's"
  [ "$(in_root stat -c '%a %U:%G' /etc/rivulet)" = "750 root:rivulet" ] || die "the configuration is not closed"
  [ "$(in_root systemctl is-enabled rivulet.service)" = enabled ] || die "the service is not enabled"
  say "deb: installed $version, service enabled; $(in_root systemctl --version | head -n 1) says of the units:"
  mkdir "$r/tmp/units"; cp cross/*.service cross/units.sh "$r/tmp/units/"
  in_root sh /tmp/units/units.sh; rm -r "$r/tmp/units"

  collector "$c"; agent "$r" "$c" "$(in_root id -u rivulet)"
  run=(chroot --userspec=rivulet:rivulet "$r" /usr/bin/rivulet)
  "${run[@]}" check --config /etc/rivulet/agent.toml
  start "$work/agent-old.log" "${run[@]}" agent --config /etc/rivulet/agent.toml; local edge=$pid
  wait_for "a buffer with all in it" filled "${run[@]}"
  stop "$edge" "the agent" "$work/agent-old.log"
  say "deb: started as rivulet without a collector, and stopped"

  dpkg_in "$r" --install /srv/new.deb
  [ "$(in_root dpkg-query -W -f '${Status} ${Version}' rivulet)" = "install ok installed $newer" ] || die "not upgraded"
  start "$work/collector.log" target/debug/rivulet-collector serve --config "$c/collector.toml"; local centre=$pid
  start "$work/agent-new.log" "${run[@]}" agent --config /etc/rivulet/agent.toml; edge=$pid
  wait_for "$expected lines" all_lines "$c"
  wait_for "an empty buffer" drained "${run[@]}"
  grep -q 'goes on in epoch' "$work/agent-new.log" || die "the upgraded agent began anew"
  stop "$edge" "the agent" "$work/agent-new.log"; stop "$centre" "the collector" "$work/collector.log"
  say "deb: upgraded to $newer with a full buffer; $(lines "$c") of $expected changes arrived"

  dpkg_in "$r" --remove rivulet
  [ ! -e "$r/usr/bin/rivulet" ] && [ ! -e "$r/lib/systemd/system/rivulet.service" ] || die "removed, and still there"
  [ -s "$r/var/lib/rivulet/buffer.db" ] && [ -s "$r/etc/rivulet/agent.key" ] || die "removing took the data"
  say "deb: removed; the buffer and the keys are there"
  dpkg_in "$r" --install /srv/new.deb
  [ "$(in_root stat -c %U /var/lib/rivulet/buffer.db)" = rivulet ] || die "installed again, and the buffer is another's"
  dpkg_in "$r" --remove rivulet
  dpkg_in "$r" --purge rivulet
  local left; left=$(find "$r" -xdev -path "$r/proc" -prune -o -path "$r/srv" -prune -o -iname '*rivulet*' -print)
  [ -z "$left" ] || die "purged, and still there: $left"
  ! in_root getent passwd rivulet > /dev/null || die "purged, and the user is still there"
  umount "$r/proc"
  say "deb: purged; nothing is left"
}

# --- systemd

# What a machine's systemd does to the kernel, the hardware and the terminals, which are not this one's.
not_ours="systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service
  systemd-sysctl.service systemd-modules-load.service kmod-static-nodes.service systemd-remount-fs.service
  systemd-random-seed.service systemd-update-utmp.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount
  systemd-tmpfiles-setup-dev.service systemd-timesyncd.service timers.target console-getty.service getty.target dev-hugepages.mount
  dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount"

inside() { nsenter --target "$init" --mount --pid --uts --ipc --cgroup --root --wd=/ env LC_ALL=C "$@"; }
shows() { inside systemctl show --property "$1" --value rivulet.service; }
state_is() { [ "$(shows ActiveState)" = "$1" ]; }
says_healthy() { shows StatusText | grep -q '^healthy: source connected, link connected, nothing waits$'; }
has_reloaded() { inside journalctl --no-pager --unit rivulet.service | grep -q 'reload: nothing has changed'; }
has_started_anew() { [ "$(shows NRestarts)" -ge 1 ] && state_is active; }
has_child() { pgrep -P "$1" > /dev/null; }
is_up() { inside systemctl is-active --quiet basic.target 2> /dev/null; }
trouble() { inside journalctl --no-pager -n 30 >&2 || true; die "$*"; }

systemd() {
  local r=$work/systemd c=$work/centre-systemd unit launcher before
  mkdir "$work/cgroups"; mount -t cgroup2 cgroup2 "$work/cgroups" || die "this machine has no cgroup2, which systemd needs"
  groups=$work/cgroups/rivulet-test.$$; mkdir "$groups"
  debian "$r"; umount "$r/proc"; packages "$r"
  for unit in $not_ours; do ln -sf /dev/null "$r/etc/systemd/system/$unit"; done
  start "$work/systemd.log" sh -c 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"' - "$groups" \
    unshare --mount --pid --cgroup --uts --ipc --fork --kill-child "$PWD/cross/package-test.sh" --first "$r"
  launcher=$pid
  wait_for "a first process" has_child "$launcher"
  init=$(pgrep -P "$launcher")
  wait_for "systemd" is_up

  inside dpkg --install /srv/old.deb > "$work/dpkg.log" 2>&1 || trouble "not installed: $(cat "$work/dpkg.log")"
  state_is inactive || trouble "it runs without a configuration"
  collector "$c"; agent "$r" "$c" "$(chroot "$r" id -u rivulet)"
  start "$work/collector-systemd.log" target/debug/rivulet-collector serve --config "$c/collector.toml"; local centre=$pid
  inside systemctl start rivulet.service || trouble "it does not start"
  state_is active || trouble "it is not active"
  wait_for "$expected lines" all_lines "$c"
  wait_for "a status in words" says_healthy
  say "systemd: started, $(lines "$c") of $expected changes arrived; $(inside systemctl show -p Type,WatchdogUSec,MemoryMax,MemoryCurrent,NRestarts rivulet.service | paste -sd' ')"
  say "systemd: status: $(shows StatusText)"
  inside systemctl reload rivulet.service || trouble "it does not reload"
  wait_for "a reload" has_reloaded

  # Five minutes are too long to wait for.
  mkdir -p "$r/etc/systemd/system/rivulet.service.d"
  printf '[Service]\nWatchdogSec=3s\nRestartSec=100ms\n' > "$r/etc/systemd/system/rivulet.service.d/test.conf"
  inside systemctl daemon-reload; inside systemctl restart rivulet.service || trouble "it does not start again"
  sleep 7
  [ "$(shows NRestarts)" = 0 ] && state_is active || trouble "a working agent did not satisfy the watchdog"
  inside systemctl kill --kill-who=main --signal=STOP rivulet.service
  wait_for "a new start of a hanging agent" has_started_anew
  say "systemd: 7 s with a watchdog of 3 s without trouble; stopped by SIGSTOP, it was killed and started anew"

  before=$(shows MainPID)
  inside dpkg --install /srv/new.deb > "$work/dpkg.log" 2>&1 || trouble "not upgraded: $(cat "$work/dpkg.log")"
  state_is active && [ "$(shows MainPID)" != "$before" ] || trouble "the upgrade did not restart it"
  wait_for "a status in words" says_healthy
  [ "$(lines "$c")" = "$expected" ] || trouble "changes arrived twice"
  inside dpkg --purge rivulet > "$work/dpkg.log" 2>&1 || trouble "not purged: $(cat "$work/dpkg.log")"
  [ ! -e "$groups/system.slice/rivulet.service" ] || trouble "purged, and it runs"
  say "systemd: upgraded and restarted, purged and stopped"
  stop "$centre" "the collector" "$work/collector-systemd.log"
  kill -9 "$init"; wait "$launcher" 2> /dev/null || true
  forget_groups
}

for file in "target/dist/rivulet-$version-amd64.image.tar" "target/dist/rivulet_${version}_amd64.deb"; do
  [ -e "$file" ] || die "no $file: run make image deb"
done
${CARGO:-cargo} build --quiet --features collector --bins
expected=$(target/debug/rivulet decode tests/run/sample.000001 | wc -l)
case ${1:-all} in
  image) image amd64; image arm64 ;;
  deb) deb ;;
  systemd) systemd ;;
  all) image amd64; image arm64; deb; systemd ;;
  *) die "image, deb, systemd, or nothing for all" ;;
esac

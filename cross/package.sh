#!/bin/bash
# Puts the static programs into what people install: images, Debian packages, archives. Each byte follows from the commit
# alone: names are sorted, times are the commit's, owners are numbers.
#
#   package.sh image amd64|arm64   target/dist/rivulet-VERSION-ARCH.image.tar: an OCI image layout that `docker load`,
#                                  `podman load` and `skopeo copy oci-archive:` take; no engine is needed to make it
#   package.sh deb amd64|arm64     target/dist/rivulet_VERSION_ARCH.deb
#   package.sh archive amd64|arm64 target/dist/rivulet-VERSION-linux-ARCH.tar.gz
#   package.sh sums                target/dist/SHA256SUMS of all that lies there
#
# Each prints the path of what it made. The programs must be there: make cross-amd64 cross-arm64.
#
# Environment: SOURCE_DATE_EPOCH  the time of everything (default: the last commit's)
#              VERSION            (default: that of Cargo.toml)
#              DIST               where the results go (default: target/dist)
#              IMAGE_MAX          the most bytes that an image may have, as a file and unpacked (default: 5000000)
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."
die() { echo "package.sh: $*" >&2; exit 1; }

what=${1:-} arch=${2:-}
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)}
DIST=${DIST:-target/dist}
EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null)} || die "no commit to take the time from; set SOURCE_DATE_EPOCH"
# Who runs it in an image; cross/Dockerfile names the same.
USER_ID=65532
mkdir -p "$DIST"
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT

put() { # MODE SOURCE DESTINATION
  mkdir -p "$(dirname "$3")"
  install -m "$1" "$2" "$3"
}
put_text() { # DESTINATION: from the standard input
  mkdir -p "$(dirname "$1")"
  cat > "$1"; chmod 644 "$1"
}
manual() { # PROGRAM
  VERSION=$VERSION DATE=$(date -u -d "@$EPOCH" +%Y-%m-%d) cross/man.sh "$1"
}
program() {
  local path=target/cross/$arch/rivulet
  [ -x "$path" ] || die "no $path: run make cross-$arch"
  cross/static.sh "$arch" "$path" >&2
  echo "$path"
}
pack() { # FOLDER OUT [NAME...]: a tar of the folder, or of these names in it
  local folder=$1 out=$2; shift 2
  [ $# -gt 0 ] || set -- .
  tar --create --file "$out" --format=gnu --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner -C "$folder" "$@"
}
sha() { sha256sum < "$1" | cut -c 1-64; }

licences() { # FOLDER
  put 644 LICENSE "$1/LICENSE"
  cross/licences.sh "$arch" | put_text "$1/LICENCES-OF-OTHERS"
}
configs() { # FOLDER
  put 644 configs/agent.toml "$1/agent.toml"
}

# --- image

root() { # FOLDER: all that is in the image, beside the state folder, which belongs to the user
  put 755 "$(program)" "$1/usr/bin/rivulet"
  configs "$1/usr/share/doc/rivulet/examples"
  licences "$1/usr/share/doc/rivulet"
  printf 'root:x:0:0:root:/:/nonexistent\nrivulet:x:%s:%s:Rivulet:/var/lib/rivulet:/nonexistent\n' $USER_ID $USER_ID | put_text "$1/etc/passwd"
  printf 'root:x:0:\nrivulet:x:%s:\n' $USER_ID | put_text "$1/etc/group"
  # What does not fit into SQLite's memory goes to /tmp.
  mkdir -p "$1/etc/rivulet" "$1/tmp"; chmod 1777 "$1/tmp"
  mkdir -p "$1/var/lib/rivulet"; chmod 700 "$1/var/lib/rivulet"
}
layer() { # FOLDER OUT
  pack "$1" "$2" --exclude=./var/lib/rivulet .
  # Appended, for it is not root's.
  tar --append --file "$2" --format=gnu --mtime="@$EPOCH" --owner=$USER_ID --group=$USER_ID --numeric-owner -C "$1" ./var/lib/rivulet
}
blob() { # FILE: keeps it under the name of its content; prints what a manifest says of it
  local sum; sum=$(sha "$1")
  mv "$1" "$layout/blobs/sha256/$sum"
  printf '"digest":"sha256:%s","size":%s' "$sum" "$(wc -c < "$layout/blobs/sha256/$sum")"
}
settings() { # LAYER: the image's configuration; cross/Dockerfile says the same
  local created; created=$(date -u -d "@$EPOCH" +%Y-%m-%dT%H:%M:%SZ)
  cat << END
{"architecture":"$arch","os":"linux","created":"$created","config":{"User":"$USER_ID:$USER_ID","WorkingDir":"/var/lib/rivulet",\
"Entrypoint":["/usr/bin/rivulet"],"Cmd":["agent","--config","/etc/rivulet/agent.toml"],"Volumes":{"/var/lib/rivulet":{}},\
"StopSignal":"SIGTERM","Healthcheck":{"Test":["CMD","/usr/bin/rivulet","status"],"Interval":60000000000,"Timeout":10000000000},\
"Labels":{"org.opencontainers.image.title":"rivulet","org.opencontainers.image.version":"$VERSION",\
"org.opencontainers.image.licenses":"MIT OR Apache-2.0"}},\
"rootfs":{"type":"layers","diff_ids":["sha256:$(sha "$1")"]},"history":[{"created":"$created","created_by":"cross/package.sh image $arch"}]}
END
}
image() {
  local out=$DIST/rivulet-$VERSION-$arch.image.tar about_layer about_settings about_manifest bytes unpacked
  local type=application/vnd.oci.image
  layout=$work/layout
  mkdir -p "$layout/blobs/sha256"
  # The folder stays, for those who build with cross/Dockerfile.
  rm -rf "target/image/$arch"; root "target/image/$arch"; layer "target/image/$arch" "$work/layer.tar"
  unpacked=$(wc -c < "$work/layer.tar")
  settings "$work/layer.tar" > "$work/settings"
  gzip -n -9 "$work/layer.tar"
  about_layer=$(blob "$work/layer.tar.gz"); about_settings=$(blob "$work/settings")
  cat > "$work/manifest" << END
{"schemaVersion":2,"mediaType":"$type.manifest.v1+json","config":{"mediaType":"$type.config.v1+json",$about_settings},\
"layers":[{"mediaType":"$type.layer.v1.tar+gzip",$about_layer}]}
END
  about_manifest=$(blob "$work/manifest")
  cat > "$layout/index.json" << END
{"schemaVersion":2,"mediaType":"$type.index.v1+json","manifests":[{"mediaType":"$type.manifest.v1+json",$about_manifest,\
"platform":{"architecture":"$arch","os":"linux"},\
"annotations":{"io.containerd.image.name":"docker.io/library/rivulet:$VERSION","org.opencontainers.image.ref.name":"$VERSION"}}]}
END
  echo '{"imageLayoutVersion":"1.0.0"}' > "$layout/oci-layout"
  # For engines that know Docker's own format alone.
  cat > "$layout/manifest.json" << END
[{"Config":"$(path_of "$about_settings")","RepoTags":["rivulet:$VERSION"],"Layers":["$(path_of "$about_layer")"]}]
END
  find "$layout" -type f -exec chmod 644 {} +
  pack "$layout" "$out" blobs index.json manifest.json oci-layout
  bytes=$(wc -c < "$out")
  echo "image: $out: $bytes bytes, unpacked $unpacked; at most ${IMAGE_MAX:-5000000}" >&2
  [ "$bytes" -le "${IMAGE_MAX:-5000000}" ] && [ "$unpacked" -le "${IMAGE_MAX:-5000000}" ] || die "the image is too large"
  echo "$out"
}
path_of() { # "digest":"sha256:SUM",…
  echo "$1" | sed 's#^"digest":"sha256:\([0-9a-f]*\)".*#blobs/sha256/\1#'
}

# --- Debian package

kib() { # FOLDER: of its files; what folders take depends on the machine
  find "$1" -type f -printf '%s\n' | awk '{ sum += int(($1 + 1023) / 1024) } END { print sum }'
}
deb() {
  local out=$DIST/rivulet_${VERSION}_$arch.deb r=$work/root c=$work/control
  put 755 "$(program)" "$r/usr/bin/rivulet"
  put 644 cross/rivulet.service "$r/lib/systemd/system/rivulet.service"
  configs "$r/usr/share/doc/rivulet/examples"
  put 644 README.md "$r/usr/share/doc/rivulet/README.md"
  gzip -n -9 < CHANGELOG.md | put_text "$r/usr/share/doc/rivulet/changelog.gz"
  manual rivulet | gzip -n -9 | put_text "$r/usr/share/man/man1/rivulet.1.gz"
  { cat LICENSE; echo; echo "================================================================================"; echo
    cross/licences.sh "$arch"; } | put_text "$r/usr/share/doc/rivulet/copyright"
  put 755 cross/debian/postinst "$c/postinst"
  put 755 cross/debian/prerm "$c/prerm"
  put 755 cross/debian/postrm "$c/postrm"
  sed "s/@VERSION@/$VERSION/; s/@ARCH@/$arch/; s/@SIZE@/$(kib "$r")/" cross/debian/control | put_text "$c/control"
  ( cd "$r" && find . -type f -printf '%P\n' | sort | xargs md5sum ) | put_text "$c/md5sums"
  pack "$r" "$work/data.tar"; pack "$c" "$work/control.tar"
  gzip -n -9 "$work/data.tar" "$work/control.tar"
  echo 2.0 > "$work/debian-binary"
  rm -f "$out"
  # D: no times, owners and modes. The order matters.
  ar rcSD "$out" "$work/debian-binary" "$work/control.tar.gz" "$work/data.tar.gz"
  echo "deb: $out: $(wc -c < "$out") bytes" >&2
  echo "$out"
}

# --- archive

archive() {
  local name=rivulet-$VERSION-linux-$arch; local out=$DIST/$name.tar.gz r=$work/root/$name
  put 755 "$(program)" "$r/rivulet"
  for file in README.md CHANGELOG.md; do put 644 $file "$r/$file"; done
  for page in rivulet rivulet-collector; do manual $page | put_text "$r/man/$page.1"; done
  licences "$r"
  find configs -type f | while read -r file; do put 644 "$file" "$r/$file"; done
  put 644 cross/rivulet.service "$r/systemd/rivulet.service"
  put 644 cross/rivulet-collector.service "$r/systemd/rivulet-collector.service"
  pack "$work/root" "$work/archive.tar" "$name"
  gzip -n -9 < "$work/archive.tar" > "$out"
  echo "archive: $out: $(wc -c < "$out") bytes" >&2
  echo "$out"
}

sums() {
  ( cd "$DIST" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum > SHA256SUMS )
  cat "$DIST/SHA256SUMS" >&2
  echo "$DIST/SHA256SUMS"
}

case $what,$arch,$# in
  image,amd64,2 | image,arm64,2 | deb,amd64,2 | deb,arm64,2 | archive,amd64,2 | archive,arm64,2) "$what" ;;
  sums,,1) sums ;;
  *) sed -n '2,17p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac

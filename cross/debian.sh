# shellcheck shell=bash
# Debian's packages for scripts that fetch some of them into private folders: from where, and whether that is possible.
# Sourced, not run; the script that sources it has a function `die`.
#
# Environment: DEB_MIRROR, DEB_SECURITY_MIRROR, DEB_KEYRING (default: what this machine's apt uses)

uri() { # the first mirror in this machine's apt sources that matches
  local files; files=$(ls /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2> /dev/null || true)
  [ -n "$files" ] || return 0
  # shellcheck disable=SC2086 # names of files, one a line
  sed -n "s/^URIs: *//p; s/^deb \(\[[^]]*\] \)\?\(http[^ ]*\).*/\2/p" $files | grep -E "$1" | head -n 1 || true
}
MIRROR=${DEB_MIRROR:-$(uri '/debian/?$')}
SECMIRROR=${DEB_SECURITY_MIRROR:-$(uri 'debian-security/?$')}
KEYRING=${DEB_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}

can_fetch() { # WHAT PROGRAM...: or dies with the reason why this machine cannot, in words
  local what=$1 p; shift
  [ "$(uname -m)" = x86_64 ] || die "cannot fetch $what: only x86-64 machines are supported, this is $(uname -m)"
  for p; do
    command -v "$p" > /dev/null || die "cannot fetch $what: this machine has no $p (a Debian-like system is needed)"
  done
  [ -e "$KEYRING" ] || die "cannot fetch $what: no archive keyring at $KEYRING (package debian-archive-keyring, or set DEB_KEYRING)"
  [ -n "$MIRROR" ] || die "cannot fetch $what: no Debian mirror in this machine's apt sources; set DEB_MIRROR (and DEB_SECURITY_MIRROR)"
}

can_fetch_updates() { # WHAT: the same for the security archive
  [ -n "$SECMIRROR" ] || die "cannot fetch $1: no Debian security mirror in this machine's apt sources; set DEB_SECURITY_MIRROR"
}

apt_of_its_own() { # FOLDER SOURCES ARCHITECTURE...: an apt that knows nothing of this machine's; its state lies in FOLDER
  local a=$1 sources=$2 arch; shift 2
  mkdir -p "$a"/{lists/partial,archives/partial,etc/apt.conf.d,debs}
  : > "$a/status"
  printf '%s\n' "$sources" > "$a/etc/sources.list"
  cat > "$a/apt.conf" << E
Dir "$a/";
Dir::Etc "$a/etc/"; Dir::Etc::main "none"; Dir::Etc::parts "apt.conf.d";
Dir::Etc::sourcelist "sources.list"; Dir::Etc::sourceparts "none";
Dir::Etc::preferences "none"; Dir::Etc::preferencesparts "apt.conf.d";
Dir::State "$a/"; Dir::State::lists "$a/lists/"; Dir::State::status "$a/status";
Dir::Cache "$a/"; Dir::Cache::archives "$a/archives/";
APT::Architecture "amd64"; APT::Architectures {$(for arch; do printf ' "%s";' "$arch"; done) };
APT::Install-Recommends "false"; APT::Sandbox::User "root";
Acquire::Languages "none"; Acquire::Retries "3";
E
}

#!/bin/bash
# Makes the manual page of a program from the text of its --help, so that the two cannot differ.
#
#   man.sh rivulet|rivulet-collector   the page, to the standard output
#
# Environment: VERSION  (default: that of Cargo.toml)
#              DATE     the page's date, YYYY-MM-DD (default: the last commit's)
set -euo pipefail
export LC_ALL=C TZ=UTC
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=${1:-}
case $name in
  rivulet | rivulet-collector) ;;
  *) sed -n '2,7p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)}
DATE=${DATE:-$(git log -1 --format=%cd --date=format-local:%Y-%m-%d)}

cat "src/bin/$name/help.txt" src/bin/common/exit-codes.txt | awk -v name="$name" -v version="$VERSION" -v date="$DATE" '
  # What roff would take for its own.
  function plain(text) {
    gsub(/\\/, "\\e", text); gsub(/-/, "\\-", text); gsub(/…/, "\\[u2026]", text); gsub(/’/, "\\[cq]", text)
    if (text ~ /^[.\x27]/) text = "\\&" text
    return text
  }
  function bold(text) { print ".TP"; print "\\fB" plain(text) "\\fR" }
  BEGIN { printf ".TH \"%s\" \"1\" \"%s\" \"Rivulet %s\" \"Rivulet\"\n", toupper(name), date, version }
  NR == 1 {
    short = $0; sub(/\.$/, "", short)
    print ".SH NAME"; print plain(name) " \\- " plain(tolower(substr(short, 1, 1)) substr(short, 2))
    print ".SH DESCRIPTION"; print plain($0); next
  }
  /^$/ { next }
  /^[A-Z][A-Z ]*$/ {
    if (section == "EXAMPLES") print ".fi"
    section = $0; print ".SH " section
    if (section == "EXAMPLES") print ".nf"
    next
  }
  section == "EXAMPLES" { sub(/^  /, ""); print plain($0); next }
  section == "" { print plain($0); next }
  /^      / { sub(/^ +/, ""); print plain($0); next }
  /^  / {
    line = substr($0, 3)
    if (section != "USAGE" && match(line, /  +/)) {
      bold(substr(line, 1, RSTART - 1)); print plain(substr(line, RSTART + RLENGTH))
    } else bold(line)
    next
  }
  { print "man.sh: a line that is not understood: " $0 > "/dev/stderr"; exit 1 }
'

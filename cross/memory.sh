#!/bin/bash
# Holds what `rivulet decode` takes of memory at most, as the kernel counted it (VmHWM): of a plain log, and of one whose
# only transaction was compressed by the server and is larger than zstd's window (2 MiB); each as lines and as --stats.
# A real MySQL writes both logs once; they stay in target/cross/logs.
#
#   memory.sh PROGRAM KIB      fails if PROGRAM takes more than so many KiB
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1 most=$2 logs=target/cross/logs
die() { echo "cross/memory.sh: $*" >&2; exit 1; }

# 200,000 rows, 57 MB in the log: text that comes again, text that does not, numbers that rise and that jump.
rows="with recursive s(i) as (select 1 union all select i + 1 from s where i < 200000)
  select i, concat('customer ', left(sha2(i div 7, 224), 32)),
    concat(sha2(i, 256), ' and some words that come again ', i, repeat(' order', i % 9), left(sha2(i * 3, 224), 32)),
    i * 7919 % 1000000 / 100, date_add('2026-01-01', interval i * 977 second), crc32(i) from s"

make_logs() {
  local data name=mysql:memory$$ status=0; data=$(mktemp -d)
  rm -rf "$logs"; mkdir -p "$logs.new"
  SERVERS=mysql tests/servers.sh fetch mysql > /dev/null
  OWNER_PID=$$ tests/servers.sh start "$name" "$(free_port)" "$data" > /dev/null || die "no MySQL to write the logs with"
  tests/servers.sh sql "$name" <<SQL && cp "$data/binlog.000002" "$logs.new/plain" && cp "$data/binlog.000003" "$logs.new/compressed" || status=1
set session cte_max_recursion_depth = 10000000;
create database m; use m;
create table t (id bigint primary key, name varchar(80), note varchar(400), price decimal(12, 2), at datetime(3), n int unsigned);
flush binary logs;
insert into t $rows;
update t set n = n + 1 where id % 5 = 0;
flush binary logs;
set session binlog_transaction_compression = ON;
delete from t;
flush binary logs;
SQL
  tests/servers.sh kill "$name" > /dev/null; tests/servers.sh forget "$name"; rm -rf "$data"
  [ $status = 0 ] || die "MySQL did not write the logs"
  mv "$logs.new" "$logs"
}
free_port() { # one that nothing listens on, outside of what the kernel gives away
  local port
  for port in $(seq 23400 23499); do (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null || { echo "$port"; return; }; done
  die "no free port"
}

# The program is given a second file, a pipe. Once it opens that, it is done with the log and still alive.
peak() { # LOG [OPTION]
  local pipe=target/cross/pipe pid kib
  rm -f $pipe; mkfifo $pipe
  "$program" decode ${2:-} "$1" $pipe > target/cross/output 2> target/cross/errors &
  pid=$!
  # Opening waits for a reader, and would for ever if the program died before.
  ( while grep -qs '^State:[[:space:]]*[^Z[:space:]]' /proc/$pid/status; do sleep 0.2; done; : <> $pipe ) &
  exec 3> $pipe
  kib=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$pid/status || true)
  cat tests/run/sample.000001 >&3 || true
  exec 3>&-
  wait $pid || { cat target/cross/errors >&2; die "decode ${2:-} $1 failed"; }
  echo "${kib:-0}"
}

[ -x "$program" ] || die "no program $program"
[ -e "$logs" ] || make_logs
failed=0
for log in plain compressed; do
  for option in "" --stats; do
    kib=$(peak "$logs/$log" $option)
    echo "memory: decode $option${option:+ }of a $log log: $kib KiB; at most $most"
    [ "$kib" != 0 ] && [ "$kib" -le "$most" ] || failed=1
  done
done
[ $failed = 0 ] || die "decode takes too much memory"

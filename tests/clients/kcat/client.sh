#!/usr/bin/env bash
# The scenario of the README with kcat: `client.sh BOOTSTRAP PREFIX`.
# kcat administers nothing: the topic PREFIX-events is there, with three partitions.
set -euo pipefail

bootstrap=$1 prefix=$2 events="$2-events"
partitions=3 records=30 patience_s=60
scratch=$(mktemp -d)
writer=
trap 'if [ -n "$writer" ]; then kill -KILL "$writer" 2>/dev/null || true; fi; rm -rf "$scratch"' EXIT

ok() { echo "ok $1: $2"; }

# expect STEP EXPECTED GOT: two files with the same lines, in any order.
expect() {
  if ! diff <(sort "$2") <(sort "$3") >"$scratch/diff"; then
    echo "MISMATCH in $1:" >&2
    cat "$scratch/diff" >&2
    exit 1
  fi
}

values() {
  for kind in "$@"; do
    seq -f "$kind-%.0f" 0 $((records - 1))
  done
}

kcat() { timeout "$patience_s" /usr/bin/env kcat -q -b "$bootstrap" "$@"; }

# All that the log has for a reader of this isolation level.
read_all() { kcat -C -t "$events" -o beginning -e -X isolation.level="$1"; }

write() { kcat -P -t "$events" -K : -X transactional.id="$prefix-writer"; }

commit() {
  values "$1" | sed 's/.*/&:&/' | write
  ok commit "$records records, $1"
}

# kcat commits at the end of its input, and takes back what it has sent when it is interrupted.
abort() {
  mkfifo "$scratch/input"
  command kcat -q -b "$bootstrap" -P -t "$events" -K : -X transactional.id="$prefix-writer" \
    -X linger.ms=5 <"$scratch/input" 2>"$scratch/aborted" &
  writer=$!
  exec 3>"$scratch/input"
  values aborted | sed 's/.*/&:&/' >&3
  # It reads its input in blocks: a line without an end fills the last one.
  printf '%08192d' 0 >&3
  local deadline=$((SECONDS + patience_s))
  until [ "$(read_all read_uncommitted | grep -c aborted)" = "$records" ]; do
    if [ $SECONDS -ge $deadline ]; then
      echo "MISMATCH in abort: the records are not in the log" >&2
      exit 1
    fi
  done
  kill -INT "$writer"
  # It waits for its input even then.
  exec 3>&-
  wait "$writer" || true
  writer=
  ok abort "$records records"
}

# The members of a group read until nobody has anything for them.
group() {
  kcat -G "$prefix-group" -e -X auto.offset.reset=earliest -X isolation.level=read_committed \
    "$events"
}

commit before
abort
commit after

values before after >"$scratch/expected"
read_all read_committed >"$scratch/got"
expect read_committed "$scratch/expected" "$scratch/got"
ok read_committed "$((2 * records)) records, none of the aborted"

values before aborted after >"$scratch/all"
read_all read_uncommitted >"$scratch/got"
expect read_uncommitted "$scratch/all" "$scratch/got"
ok read_uncommitted "$((3 * records)) records"

group >"$scratch/got"
expect group "$scratch/expected" "$scratch/got"
commit late
# Who comes after it goes on where it ended.
group >"$scratch/got"
values late >"$scratch/expected"
expect group "$scratch/expected" "$scratch/got"
ok group "one member, and one that goes on"

kcat -L -t "$events" >"$scratch/got"
if ! grep -q "topic \"$events\" with $partitions partitions" "$scratch/got"; then
  echo "MISMATCH in describe: $(cat "$scratch/got")" >&2
  exit 1
fi
kcat -Q -t "$events:0:-2" >"$scratch/got"
if ! grep -q "offset 0$" "$scratch/got"; then
  echo "MISMATCH in describe: $(cat "$scratch/got")" >&2
  exit 1
fi
ok describe "$partitions partitions, from offset 0"

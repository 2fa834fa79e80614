#!/usr/bin/env bash
# Stops what up.sh started, and nothing else: by the recorded pid, when the process is still the one that was started.
#
#   down.sh [SERVICE…]          all without an argument; the data stays
#   WIPE=1 down.sh [SERVICE…]   and removes the data; without an argument the logs as well
#
# PORT_BASE and STACK_DIR choose the stack, as for up.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=compose/native/lib.sh
source "$here/lib.sh"
case ${1:-} in
  -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
esac

wanted=("$@")
# Without its data, Kafka has forgotten what these rely on.
if [[ -n ${WIPE:-} && " $* " == *" kafka "* ]]; then wanted+=(connect registry); fi
choose_services "${wanted[@]}"
if [[ ! -d $STACK ]]; then
  say "nothing was started in $STACK"
  exit 0
fi
lock_stack

# Asks politely (PostgreSQL's polite signal is INT: do not wait for clients), then insists.
stop() {
  local signal=TERM
  [[ $1 != postgres ]] || signal=INT
  is_running "$1" || return 0
  kill -s "$signal" "$pid"
  for _ in {1..200}; do
    process_lives "$pid" || { say "$1 has stopped (pid $pid)" && return; }
    sleep 0.1
  done
  kill -s KILL "$pid"
  say "$1 did not stop within 20 s and was killed (pid $pid)"
}

wipe() {
  local data
  data=$(readlink -m "$STACK/$1") # PostgreSQL's may be a link, see services/postgres.sh
  [[ -e $data ]] || return 0
  case $data in
    "$STACK"/* | /var/lib/highwater/*) rm -rf "$data" "${STACK:?}/$1" ;;
    *) fail "$STACK/$1 points to $data, which is none of ours: not removed" ;;
  esac
  say "removed the data of $1"
}

for ((i = ${#chosen[@]} - 1; i >= 0; i--)); do
  service=${chosen[i]}
  stop "$service"
  rm -f "$RUN/$service.pid" "$RUN/$service.ready"
  if [[ -n ${WIPE:-} ]]; then wipe "$service"; fi
done
# The lock file goes last: who waits for it finds a stack of which nothing runs.
if [[ -n ${WIPE:-} && $# == 0 ]]; then rm -rf "$LOGS" "$RUN"; fi

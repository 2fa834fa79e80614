#!/usr/bin/env bash
# Registers Debezium's connectors with Kafka Connect, and looks after them.
#
#   connect.sh register [--name NAME] FILE…   from compose/connectors/*.json; waits until connector and task are running
#   connect.sh list                           names and states
#   connect.sh status NAME                    states, and the stack trace of what failed
#   connect.sh restart NAME                   after a failure
#   connect.sh delete [--offsets] NAME        --offsets: and forgets how far it had read, so that the next one of this
#                                             name begins with a snapshot
#
# A connector's name is its file's, unless one is given; registering again changes its settings. In the files `${NAME}`
# and `${NAME:-default}` stand for environment variables. Those that are not set are filled in here: the ports of this
# stack (PORT_BASE), KAFKA_BROKERS, CONNECTOR_NAME, and what is made of that name: SERVER_ID, SLOT_NAME.
# CONNECT_URL is another Connect than this stack's.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=compose/native/lib.sh
source "$here/lib.sh"

url=${CONNECT_URL:-$(address_of connect)}
KAFKA_BROKERS=${KAFKA_BROKERS:-$(address_of kafka)}

usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit "$1"
}

# Calls Connect and prints what it answers; with an error, Connect's message is the error: call METHOD PATH [BODY]
call() {
  local answer code
  answer=$(curl -sS --max-time 120 -X "$1" -H 'Content-Type: application/json' ${3:+--data-binary "$3"} \
    -w '\n%{http_code}' "$url$2") || fail "Kafka Connect does not answer at $url: compose/native/up.sh connect"
  code=${answer##*$'\n'}
  answer=${answer%$'\n'*}
  if ((code == 409)); then return 9; fi # Connect is busy with a change of its connectors
  ((code < 400)) || fail "$1 $2: $(field message <<<"$answer")"
  printf '%s\n' "$answer"
}

retry() {
  local result
  for _ in {1..60}; do
    result=0
    "$@" || result=$?
    ((result == 9)) || return "$result"
    sleep 0.5
  done
  fail "Kafka Connect stays busy (409): $*"
}

# The first text value of a field in JSON of one line.
field() { sed -nE 's/.*"'"$1"'" *: *"(([^"\\]|\\.)*)".*/\1/p;q' | decode; }
decode() { sed -e 's/\\n/\n/g' -e 's/\\t/\t/g' -e 's/\\"/"/g' -e 's/\\\\/\\/g'; }

# Fills in ${NAME} and ${NAME:-default}.
fill_in() {
  local text=$1 name default value
  while [[ $text =~ \$\{([A-Za-z_][A-Za-z_0-9]*)(:-([^}]*))?\} ]]; do
    name=${BASH_REMATCH[1]} default=${BASH_REMATCH[3]}
    value=${!name:-$default}
    [[ -n $value ]] || fail "$2 wants the variable $name, which is not set"
    text=${text//"${BASH_REMATCH[0]}"/"$value"}
  done
  printf '%s' "$text"
}

# A name's number, for the identity of a replica, which must be unique among those of a database.
number_of() { echo $((100000 + $(cksum <<<"$1" | cut -d' ' -f1) % 900000)); }

register() {
  local file=$1 CONNECTOR_NAME=$2 body
  [[ -e $file ]] || file=$CHECKOUT_DIR/compose/connectors/${file%.json}.json
  [[ -e $file ]] || fail "there is no $1; there are: $(cd "$CHECKOUT_DIR/compose/connectors" && echo *.json)"
  # shellcheck disable=SC2034 # used by fill_in
  local SERVER_ID=${SERVER_ID:-$(number_of "$CONNECTOR_NAME")} slot=highwater_${CONNECTOR_NAME//[^a-zA-Z0-9]/_}
  # shellcheck disable=SC2034
  local SLOT_NAME=${SLOT_NAME:-${slot,,}}
  body=$(fill_in "$(<"$file")" "$file")
  retry call PUT "/connectors/$CONNECTOR_NAME/config" "$body" >/dev/null
  wait_until_running "$CONNECTOR_NAME"
}

# "RUNNING RUNNING": of the connector and of its tasks; nothing when Connect does not know it yet.
states() { curl -sS --max-time 10 "$url/connectors/$1/status" | grep -oE '"state" *: *"[A-Z_]+"' | grep -oE '[A-Z_]{4,}'; }

# A task counts as running from its first breath, and may fail with the next: it has to be seen running for a second.
wait_until_running() {
  local now seen=0 deadline=$((SECONDS + 60))
  while ((SECONDS < deadline)); do
    now=$(states "$1" | xargs) || true
    case $now in
      *FAILED*)
        status "$1" >&2
        fail "the connector $1 has failed"
        ;;
      "RUNNING RUNNING") ((++seen < 6)) || { say "$1 is running" && return; } ;;
      *) seen=0 ;;
    esac
    sleep 0.2
  done
  fail "the connector $1 is not running after 60 s, but: ${now:-unknown}"
}

status() {
  local answer trace
  answer=$(retry call GET "/connectors/$1/status")
  echo "$1: $(grep -oE '"state" *: *"[A-Z_]+"' <<<"$answer" | grep -oE '[A-Z_]{4,}' | xargs)"
  trace=$(field trace <<<"$answer")
  if [[ -n $trace ]]; then echo "$trace"; fi
}

list() {
  local name names
  names=$(retry call GET /connectors)
  for name in $(tr '[]",' ' ' <<<"$names"); do
    printf '%-30s %s\n' "$name" "$(states "$name" | xargs)"
  done
}

delete() {
  if [[ $2 == --offsets ]]; then
    retry call PUT "/connectors/$1/stop" >/dev/null
    for _ in {1..100}; do
      [[ $(states "$1" | xargs) != STOPPED ]] || break
      sleep 0.1
    done
    retry call DELETE "/connectors/$1/offsets" >/dev/null
  fi
  retry call DELETE "/connectors/$1" >/dev/null
  say "$1 is deleted"
}

command=${1:-}
shift || true
case $command in
  register)
    name=
    if [[ ${1:-} == --name ]]; then
      name=${2:-}
      shift 2
    fi
    (($# > 0)) || usage 2
    [[ -z $name || $# == 1 ]] || fail "--name is for one file"
    for file in "$@"; do
      register "$file" "${name:-$(basename "$file" .json)}"
    done
    ;;
  list) list ;;
  status) status "${1:?NAME}" ;;
  restart)
    retry call POST "/connectors/${1:?NAME}/restart?includeTasks=true" >/dev/null
    sleep 1
    wait_until_running "$1"
    ;;
  delete)
    offsets=
    if [[ ${1:-} == --offsets ]]; then
      offsets=--offsets
      shift
    fi
    delete "${1:?NAME}" "$offsets"
    ;;
  -h | --help) usage 0 ;;
  *) usage 2 ;;
esac

#!/usr/bin/env bash
# Starts the stack without containers: what is not yet up, and waits until it answers.
#
#   up.sh [SERVICE…]      kafka registry connect mariadb mysql postgres clickhouse; all of them without an argument. And s3
#   up.sh --status        the same as status.sh
#
# A service brings with it what it needs (connect and registry: kafka). What is missing is installed or downloaded first,
# into a cache, for the chosen services only. Running it again is quick, and two at once take turns.
#
#   PORT_BASE=40000 up.sh clickhouse     every port is shifted (48123, 49000): a second stack beside the first
#   KAFKA_PORT=19092 up.sh kafka         one port
#   CLICKHOUSE_URL=http://… up.sh        that server is used when it answers, and none is started
#
# docs/stack.md has all variables. down.sh stops what this started.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=compose/native/lib.sh
source "$here/lib.sh"

case ${1:-} in
  --status) exec "$here/status.sh" ;;
  -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
esac

# The chosen services and what they need.
wanted=("$@")
# Only some tests want it.
if (($# == 0)); then for service in "${SERVICES[@]}"; do [[ $service == s3 ]] || wanted+=("$service"); done; fi
for service in "$@"; do
  for needed in $(needs_of "$service"); do wanted+=("$needed"); done
done
choose_services "${wanted[@]}"
lock_stack

# What is up already. When that is all, nothing more is read.
starting=()
for service in "${chosen[@]}"; do
  if [[ $service == clickhouse ]] && has_own_clickhouse; then
    say "clickhouse is up: $CLICKHOUSE_URL (yours: CLICKHOUSE_URL)"
  elif is_up "$service"; then
    say "$service is up: $(address_of "$service") (pid $pid)"
  else
    starting+=("$service")
  fi
done
((${#starting[@]} > 0)) || exit 0
if [[ -n ${CLICKHOUSE_URL:-} && " ${starting[*]} " == *" clickhouse "* ]]; then
  say "CLICKHOUSE_URL=$CLICKHOUSE_URL does not answer: ClickHouse is started here instead"
fi

# shellcheck source=compose/native/fetch.sh
source "$here/fetch.sh"
for file in "$here"/services/*.sh; do
  # shellcheck source=/dev/null
  source "$file"
done

for service in "${starting[@]}"; do "${service}_fetch"; done

start() {
  is_running "$1" && return # an earlier up.sh started it and was stopped before it answered
  local port deadline=$((SECONDS + 5))
  port=$(port_of "$1")
  # A server that was just killed keeps its port for a moment.
  while is_listening "$port"; do
    ((SECONDS < deadline)) && sleep 0.1 && continue
    fail "$1 cannot start: port $port belongs to another process; set ${1^^}_PORT or PORT_BASE" \
      "(clickhouse: CLICKHOUSE_HTTP_PORT, CLICKHOUSE_TCP_PORT)"
  done
  "$1_start"
  say "$1 is starting on port $port"
}

# Those that need nothing start at once, then those that need them.
independent=() dependent=()
for service in "${starting[@]}"; do
  if [[ -z $(needs_of "$service") ]]; then independent+=("$service"); else dependent+=("$service"); fi
done
for wave in "${independent[*]}" "${dependent[*]}"; do
  for service in $wave; do start "$service"; done
  for service in $wave; do wait_until_up "$service" "${START_SECONDS:-300}"; done
done

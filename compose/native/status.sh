#!/usr/bin/env bash
# Shows the stack: each service, its address, its pid, and whether it is up.
#
#   status.sh          a table
#   status.sh --env    the addresses as variables, for `eval "$(compose/native/status.sh --env)"`
#
# PORT_BASE and STACK_DIR choose the stack, as for up.sh.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=compose/native/lib.sh
source "$here/lib.sh"

case ${1:-} in
  -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
  --env)
    has_own_clickhouse || CLICKHOUSE_URL=$(address_of clickhouse)
    echo "export KAFKA_BROKERS=$(address_of kafka)"
    echo "export CLICKHOUSE_URL=$CLICKHOUSE_URL"
    echo "export SCHEMA_REGISTRY_URL=$(address_of registry)"
    echo "export CONNECT_URL=$(address_of connect)"
    echo "export MARIADB_URL=$(address_of mariadb)"
    echo "export MYSQL_URL=$(address_of mysql)"
    echo "export POSTGRES_URL=$(address_of postgres)"
    echo "export S3_URL=$(address_of s3)"
    exit
    ;;
esac

state_of() {
  if is_up "$1"; then
    echo up
  elif is_running "$1"; then
    echo starting
  elif is_listening "$(port_of "$1")"; then
    echo "down (the port belongs to another process)"
  elif [[ -e $RUN/$1.pid ]]; then
    echo "down (it was up: see $LOGS/$1.log)"
  else
    echo down
  fi
}

format='%-10s  %-46s  %7s  %7s  %s\n'
# shellcheck disable=SC2059
printf "$format" SERVICE ADDRESS PID MEMORY STATE
for service in "${SERVICES[@]}"; do
  state=$(state_of "$service")
  memory=-
  if is_running "$service"; then
    memory=$(awk '/^VmRSS/ { printf "%d MB", $2 / 1024 }' "/proc/$pid/status")
  else
    pid=-
  fi
  # shellcheck disable=SC2059
  printf "$format" "$service" "$(address_of "$service")" "$pid" "$memory" "$state"
done
if has_own_clickhouse; then echo "clickhouse: yours is used, $CLICKHOUSE_URL"; fi
echo "data, logs (log/) and settings (run/): $STACK"

# shellcheck shell=bash
# What every script in this folder shares: settings, messages, processes, and waiting for them.

NATIVE_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CHECKOUT_DIR=$(cd "$NATIVE_DIR/../.." && pwd)
# shellcheck source=compose/native/versions.env
source "$NATIVE_DIR/versions.env"

# --- Messages ---------------------------------------------------------------------------------------------------------

started_at=${EPOCHREALTIME/[.,]/}

# Prints one step, with the seconds since the script began.
say() {
  local us=$((${EPOCHREALTIME/[.,]/} - started_at))
  printf '%4d.%d s  %s\n' $((us / 1000000)) $((us / 100000 % 10)) "$*"
}

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# --- Settings ---------------------------------------------------------------------------------------------------------

HOST=127.0.0.1
PORT_BASE=${PORT_BASE:-0}
[[ $PORT_BASE =~ ^(0|[1-9][0-9]{0,4})$ ]] || fail "PORT_BASE is '$PORT_BASE', not a number such as 40000"
((PORT_BASE <= 56000)) || fail "PORT_BASE is $PORT_BASE: with more than 56000 there are no ports left"

KAFKA_PORT=${KAFKA_PORT:-$((PORT_BASE + 9092))}
KAFKA_TLS_PORT=${KAFKA_TLS_PORT:-$((PORT_BASE + 9094))}
KAFKA_CONTROLLER_PORT=${KAFKA_CONTROLLER_PORT:-$((PORT_BASE + 9093))}
REGISTRY_PORT=${REGISTRY_PORT:-$((PORT_BASE + 8081))}
CONNECT_PORT=${CONNECT_PORT:-$((PORT_BASE + 8083))}
MARIADB_PORT=${MARIADB_PORT:-$((PORT_BASE + 3306))}
MYSQL_PORT=${MYSQL_PORT:-$((PORT_BASE + 3307))}
POSTGRES_PORT=${POSTGRES_PORT:-$((PORT_BASE + 5432))}
CLICKHOUSE_HTTP_PORT=${CLICKHOUSE_HTTP_PORT:-$((PORT_BASE + 8123))}
CLICKHOUSE_TCP_PORT=${CLICKHOUSE_TCP_PORT:-$((PORT_BASE + 9000))}
S3_PORT=${S3_PORT:-$((PORT_BASE + 5000))}

# Downloads, shared between checkouts.
CACHE=${HIGHWATER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/highwater/stack}
# Data, logs and pid files of this stack. A stack with another PORT_BASE has another folder, even when STACK_DIR is given.
STACK=${STACK_DIR:-$CHECKOUT_DIR/.highwater/stack}
((PORT_BASE == 0)) || STACK+=-$PORT_BASE
[[ $CACHE == /* ]] || CACHE=$PWD/$CACHE
[[ $STACK == /* ]] || STACK=$PWD/$STACK
LOGS=$STACK/log
# Pid files and generated settings.
RUN=$STACK/run

# The order in which services start; they stop in the opposite one.
SERVICES=(kafka clickhouse mariadb mysql postgres registry connect s3)

# What a service cannot run without.
needs_of() {
  case $1 in
    registry | connect) echo kafka ;;
  esac
}

port_of() {
  case $1 in
    kafka) echo "$KAFKA_PORT" ;;
    registry) echo "$REGISTRY_PORT" ;;
    connect) echo "$CONNECT_PORT" ;;
    mariadb) echo "$MARIADB_PORT" ;;
    mysql) echo "$MYSQL_PORT" ;;
    s3) echo "$S3_PORT" ;;
    postgres) echo "$POSTGRES_PORT" ;;
    clickhouse) echo "$CLICKHOUSE_HTTP_PORT" ;;
  esac
}

# The address as a program is given it.
address_of() {
  case $1 in
    kafka) echo "$HOST:$KAFKA_PORT" ;;
    registry) echo "http://$HOST:$REGISTRY_PORT/apis/ccompat/v7" ;;
    connect) echo "http://$HOST:$CONNECT_PORT" ;;
    mariadb) echo "mysql://dbz:dbz@$HOST:$MARIADB_PORT" ;;
    mysql) echo "mysql://dbz:dbz@$HOST:$MYSQL_PORT" ;;
    postgres) echo "postgres://postgres@$HOST:$POSTGRES_PORT/postgres" ;;
    clickhouse) echo "http://$HOST:$CLICKHOUSE_HTTP_PORT" ;;
    s3) echo "http://$HOST:$S3_PORT" ;;
  esac
}

# Checks the names given on the command line, or takes all services, into the array `chosen`, in starting order.
choose_services() {
  local name known=" ${SERVICES[*]} " wanted=" $* "
  for name in "$@"; do
    [[ $known == *" $name "* ]] || fail "there is no service '$name'; there are: ${SERVICES[*]}"
  done
  chosen=()
  for name in "${SERVICES[@]}"; do
    if (($# == 0)) || [[ $wanted == *" $name "* ]]; then chosen+=("$name"); fi
  done
}

# --- Locks ------------------------------------------------------------------------------------------------------------

# One up.sh or down.sh at a time for a stack, one download at a time for the cache. A lock ends with its holder, so the
# services must not inherit it: `launch` closes the descriptors.
lock_stack() {
  mkdir -p "$LOGS" "$RUN/tmp"
  exec 9>"$STACK/lock"
  flock -n 9 || { say "another script is at work on $STACK: waiting for it" && flock 9; }
}

lock_cache() {
  mkdir -p "$CACHE"
  exec 8>"$CACHE/lock"
  flock -n 8 || { say "another script is downloading into $CACHE: waiting for it" && flock 8; }
}

unlock_cache() { exec 8>&-; }

# --- Processes --------------------------------------------------------------------------------------------------------

# Whether a process runs; one that was killed may stay a zombie for a while, and `kill -0` takes that for life.
process_lives() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  stat=${stat##*) }
  [[ ${stat:0:1} != [ZX] ]]
}

# A pid file has two lines: the pid, and a folder that the command line of the process names. A pid that now belongs to
# some other process is known by that. Sets `pid`.
is_running() {
  local mark argument
  pid=
  { { read -r pid && read -r mark; } <"$RUN/$1.pid"; } 2>/dev/null || return 1
  [[ -n $pid ]] && process_lives "$pid" || return 1
  while IFS= read -r -d '' argument; do
    [[ $argument != *"$mark"* ]] || return 0
  done 2>/dev/null <"/proc/$pid/cmdline"
  return 1
}

# It runs, and has answered once since it started. Sets `pid`.
is_up() { is_running "$1" && [[ -e $RUN/$1.ready ]]; }

# Whether somebody listens on a port of this machine. Asks the kernel: connecting would leave aborted connections in the
# logs of databases, and a port in the ephemeral range can even connect to itself.
is_listening() {
  local hex
  printf -v hex '%04X' "$1"
  grep -qsE "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F]+:0000 0A" /proc/net/tcp /proc/net/tcp6
}

# Starts a command in the background, free of this terminal and of this script: launch NAME MARK COMMAND…
launch() {
  local name=$1 mark=$2
  shift 2
  rm -f "$RUN/$name.ready"
  # The subshell becomes the command, hence $! is its pid.
  (
    exec 8>&- 9>&-
    exec setsid nohup "$@" </dev/null >>"$LOGS/$name.log" 2>&1
  ) &
  record_pid "$name" "$!" "$mark"
}

record_pid() { printf '%s\n%s\n' "$2" "$3" >"$RUN/$1.pid"; }

# Waits until `NAME_answers` says yes: wait_until_up NAME SECONDS
wait_until_up() {
  local name=$1 deadline=$((SECONDS + $2))
  read -r pid <"$RUN/$name.pid"
  until "${name}_answers" >/dev/null 2>&1; do
    # Not `is_running`: for a moment after the start the command line is still that of this script.
    if ! process_lives "$pid"; then
      explain_log "$name"
      fail "$name ended before it answered; its log is $LOGS/$name.log"
    fi
    if ((SECONDS >= deadline)); then
      explain_log "$name"
      fail "$name (pid $pid) did not answer within $2 s; its log is $LOGS/$name.log"
    fi
    sleep 0.1
  done
  is_running "$name" || fail "$name answers, but not from the process that was started: see $LOGS/$name.log"
  : >"$RUN/$name.ready"
  say "$name is up: $(address_of "$name") (pid $pid)"
}

explain_log() { tail -n 15 "$LOGS/$1.log" 2>/dev/null | sed 's/^/    /' >&2; }

# A ClickHouse that the user has, at $CLICKHOUSE_URL: it is used instead of one of ours.
has_own_clickhouse() { [[ -n ${CLICKHOUSE_URL:-} ]] && answers_http "${CLICKHOUSE_URL%/}/ping" 2>/dev/null; }

answers_http() { curl -fsS --max-time 5 -o /dev/null "$1"; }

# A user of this machine who is not root runs databases as oneself.
is_root() { ((EUID == 0)); }

#!/usr/bin/env bash
# The main job on the whole real stack, and a comparison of what came out with what is in the database:
#
#   data-gen shop ──► MariaDB ──Debezium──► Kafka ──► highwater run, both main queries ──► ClickHouse
#
# Kafka and MariaDB of this stack (PORT_BASE) start empty; in ClickHouse only the database highwater_demo_full is made anew. The
# stack stays up afterwards.
#
#   CUSTOMERS=2000 scripts/demo-full.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PORT_BASE=${PORT_BASE:-10000}
export DATABASE=highwater_demo_full
export WINDOW=${WINDOW:-10 SECONDS}
window_seconds=${WINDOW%% *}
customers=${CUSTOMERS:-2000}
native=compose/native
work=.highwater/demo-full
connector=mariadb-sakila

say() { printf '\n— %s\n' "$*"; }
fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
[[ $WINDOW =~ ^[0-9]+\ SECONDS?$ ]] || fail "WINDOW is '$WINDOW', and this script reads only seconds, as in '10 SECONDS'"
((customers >= 100)) || fail "CUSTOMERS is $customers: give at least 100"

target=${CARGO_TARGET_DIR:-target}
say "building Highwater (the first time takes about 5 minutes on 2 cores)"
cargo build --workspace --quiet
highwater=$target/debug/highwater

say "the stack: MariaDB, Kafka, Connect with Debezium, ClickHouse"
WIPE=1 "$native/down.sh" kafka mariadb
"$native/up.sh" kafka connect mariadb clickhouse
eval "$("$native/status.sh" --env)"
rm -rf "$work"
mkdir -p "$work"

mariadb_port=${MARIADB_URL##*:}
in_mariadb() {
  mariadb --host 127.0.0.1 --port "$mariadb_port" --user dbz --password=dbz --default-character-set=utf8mb4 \
    --batch --raw --skip-column-names --init-command="SET time_zone = '+00:00'" --execute "$1" sakila
}
in_clickhouse() { curl -sS --fail-with-body "$CLICKHOUSE_URL" --data-binary "$1"; }
in_clickhouse "DROP DATABASE IF EXISTS $DATABASE SYNC"

# What a run of `data-gen shop` prints, as four numbers: registered, moved, e-mail changed, left.
shop() {
  "$target/debug/data-gen" shop --database "$MARIADB_URL" "$@" | tee "$work/shop.txt"
  tr -d , <"$work/shop.txt" | sed -nE \
    -e 's/^([0-9]+) customers registered.*/\1/p' \
    -e 's/^ *([0-9]+) moved to another store ([0-9]+) changed their e-mail address ([0-9]+) left.*/\1 \2 \3/p' |
    paste -sd ' ' >"$work/shop.counts"
}

# Only registrations at first, so that the snapshot shows each customer as it was when it registered.
say "MariaDB: the first customers register; Debezium will find them in its snapshot"
shop --total $((customers / 5)) --updates 0% --deletes 0% --seed 1
read -r snapshot _ <"$work/shop.counts"

say "Debezium: begins with a snapshot, then follows the binlog"
"$native/connect.sh" register "$connector"
wait_for_topics() {
  local topics
  for _ in {1..30}; do
    topics=$("$native/kafka.sh" topics --list)
    if grep -qx shop.sakila.customer <<<"$topics" && grep -qx shop.sakila.users_change_events <<<"$topics"; then return; fi
    sleep 1
  done
  fail "Debezium has made no topics: $native/connect.sh status $connector"
}
wait_for_topics

say "Highwater: both queries run, with windows of $WINDOW, into the database $DATABASE"
pids=()
for query in registrations_per_store registrations_from_trigger; do
  "$highwater" run "queries/$query.sql" --checkpoint-dir "$work/checkpoints" 2>"$work/$query.log" &
  pids+=($!)
  echo "queries/$query.sql: process $!, log $work/$query.log"
done
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT

say "MariaDB: more customers register, others move, change their address, leave"
shop --total $((customers - customers / 5)) --rate 100/s --updates 15% --deletes 5% --seed 2
read -r registered moved emails left <"$work/shop.counts"
changes=$((snapshot + registered + moved + emails + left))

say "waiting until all $changes changes of customers are in ClickHouse"
for _ in {1..120}; do
  arrived=$(in_clickhouse "SELECT count() FROM $DATABASE.customer_changes" 2>/dev/null || echo 0)
  ((arrived < changes)) || break
  for pid in "${pids[@]}"; do
    kill -0 "$pid" 2>/dev/null || fail "highwater has ended: $(tail -n 3 "$work"/registrations_*.log)"
  done
  sleep 0.5
done
((arrived >= changes)) || fail "only $arrived have arrived after a minute: $native/connect.sh status $connector; logs in $work"
events=$(in_mariadb 'SELECT count(*) FROM users_change_events')
for _ in {1..10}; do
  in_kafka=$("$native/kafka.sh" consume --topic shop.sakila.users_change_events --from-beginning --timeout-ms 3000 2>/dev/null | wc -l)
  ((in_kafka < events)) || break
done

say "stopping both with SIGTERM; then the same jobs go on from their checkpoints, and close the last windows (--bounded)"
kill -TERM "${pids[@]}"
for pid in "${pids[@]}"; do wait "$pid" || fail "highwater did not stop gracefully: see $work"; done
trap - EXIT
for query in registrations_per_store registrations_from_trigger; do
  "$highwater" run "queries/$query.sql" --bounded --checkpoint-dir "$work/checkpoints" 2>>"$work/$query.log"
  sed -n '/^stopped/,$p' "$work/$query.log" | sed "s/^/  /; 1s/^/queries\/$query.sql\n/"
done

say "comparing"
failures=0
compare() { # NAME WHAT: diff of $work/NAME.mariadb and $work/NAME.clickhouse
  if diff "$work/$1.mariadb" "$work/$1.clickhouse" >"$work/$1.diff"; then
    echo "  ✓ $2"
  else
    failures=$((failures + 1))
    echo "  ✗ $2; left MariaDB, right ClickHouse, all of it in $work/$1.diff:"
    head -n 6 "$work/$1.diff" | sed 's/^/      /'
  fi
}

printf '%s\n' "c $registered" "d $left" "r $snapshot" "u $((moved + emails))" "each once $changes" >"$work/changes.mariadb"
in_clickhouse "SELECT _op || ' ' || toString(count()) FROM $DATABASE.customer_changes GROUP BY _op ORDER BY _op" >"$work/changes.clickhouse"
in_clickhouse "SELECT 'each once ' || toString(uniqExact(_topic, _partition, _offset)) FROM $DATABASE.customer_changes" >>"$work/changes.clickhouse"
compare changes "changelog: $changes events, each once: $snapshot from the snapshot, $registered inserts, $((moved + emails)) updates, $left deletes, as data-gen counted"

in_mariadb "SELECT customer_id, store_id, first_name, last_name, coalesce(email, '(null)'), address_id, active, create_date, last_update
  FROM customer ORDER BY customer_id" >"$work/customer.mariadb"
in_clickhouse "SELECT customer_id, store_id, first_name, last_name, coalesce(email, '(null)'), address_id, toUInt8(active),
  toDateTime(create_date, 'UTC'), toDateTime(last_update, 'UTC')
  FROM $DATABASE.customer ORDER BY customer_id FORMAT TSVRaw" >"$work/customer.clickhouse"
compare customer "mirror: $(wc -l <"$work/customer.mariadb") rows, the same in all columns as MariaDB's table customer"

# The table customer has lost those who left, and shows who moved in another store; the trigger's events have every
# registration as it was.
in_mariadb "SELECT unix_timestamp(created_at) DIV $window_seconds * $window_seconds AS start, store_id, count(*)
  FROM users_change_events WHERE event_type = 'INSERT' GROUP BY start, store_id ORDER BY start, store_id" >"$work/windows.mariadb"
cp "$work/windows.mariadb" "$work/trigger.mariadb"
windows_of() {
  in_clickhouse "SELECT toUnixTimestamp(start), store_id, sum(n) FROM (
      SELECT window_start AS start, store_id, toInt64(registrations) AS n FROM $DATABASE.$1
      UNION ALL SELECT window_start AS start, store_id, toInt64(sign) AS n FROM $DATABASE.${1}_late)
    GROUP BY start, store_id ORDER BY start, store_id"
}
windows_of registrations_per_store >"$work/windows.clickhouse"
windows_of registrations_from_trigger >"$work/trigger.clickhouse"
late=$(in_clickhouse "SELECT count() FROM (SELECT sign FROM $DATABASE.registrations_per_store_late
  UNION ALL SELECT sign FROM $DATABASE.registrations_from_trigger_late)")
compare windows "registrations_per_store: $(wc -l <"$work/windows.mariadb") windows and stores; with the late rows the same as GROUP BY over users_change_events in MariaDB"
compare trigger "registrations_from_trigger: the same (late rows of both: $late)"

echo 0 >"$work/dead.mariadb"
in_clickhouse "SELECT count() FROM $DATABASE.dead_letters" >"$work/dead.clickhouse"
compare dead "dead letters: none"

say "the last windows: registrations in all stores"
awk -v OFS='  ' '
  FNR == 1 { file++ }
  { sum[file, $1] += $3; starts[$1] = 1 }
  END {
    printf "  %-19s  %20s  %23s  %26s\n", "window_start (UTC)", "GROUP BY in MariaDB", "registrations_per_store", "registrations_from_trigger"
    n = 0; for (start in starts) order[++n] = start
    for (i = 2; i <= n; i++) { for (j = i; j > 1 && order[j - 1] > order[j]; j--) { t = order[j]; order[j] = order[j - 1]; order[j - 1] = t } }
    for (i = (n > 6 ? n - 5 : 1); i <= n; i++)
      printf "  %-19s  %20d  %23d  %26d\n", strftime("%Y-%m-%d %H:%M:%S", order[i], 1), sum[1, order[i]], sum[2, order[i]], sum[3, order[i]]
  }' "$work/windows.mariadb" "$work/windows.clickhouse" "$work/trigger.clickhouse"

cat <<END

The stack is still up (PORT_BASE=$PORT_BASE). To look around:
  PORT_BASE=$PORT_BASE $native/status.sh
  curl $CLICKHOUSE_URL --data 'SELECT * FROM $DATABASE.customer LIMIT 5 FORMAT PrettyCompact'
  make down        # stops it; the data stays
END
((failures == 0)) || fail "$failures of the comparisons differ"

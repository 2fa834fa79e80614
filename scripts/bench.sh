#!/usr/bin/env bash
# Speed from Kafka to ClickHouse on 5,000,000 events, beside what librdkafka reaches when it throws records away. Starts its own
# Kafka and ClickHouse (PORT_BASE); the topic is made once and stays.
#
#   EVENTS=1000000 ROUNDS=1 scripts/bench.sh        benches/end_to_end.rs has all variables
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PORT_BASE=${PORT_BASE:-12000}

target=${CARGO_TARGET_DIR:-target}
if [[ ! -x $target/release/highwater ]]; then
  echo "building Highwater in release: the first time takes about 20 minutes on 2 cores"
fi
cargo bench --workspace --bench end_to_end --no-run
compose/native/up.sh kafka clickhouse
eval "$(compose/native/status.sh --env)"
load=$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null || echo 0)
if [[ ${load%.*} -ge 1 ]]; then
  echo "this machine is not quiet (load $load): the figures will be too low"
fi
cargo bench --workspace --bench end_to_end
echo "Kafka and ClickHouse stay up: make down stops them"

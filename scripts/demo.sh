#!/usr/bin/env bash
# Builds Highwater, starts a ClickHouse for it, and runs `highwater demo`. Without a ClickHouse the demo writes Parquet.
#
#   scripts/demo.sh [ARGUMENTS FOR highwater demo…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PORT_BASE=${PORT_BASE:-10000}

target=${CARGO_TARGET_DIR:-target}
if [[ ! -x $target/debug/highwater ]]; then
  echo "building Highwater: the first time takes about 5 minutes on 2 cores (dev profile; a release build about 20)"
fi
cargo build --workspace

if compose/native/up.sh clickhouse; then
  eval "$(compose/native/status.sh --env | grep CLICKHOUSE_URL)"
else
  echo "no ClickHouse could be started (see above): the demo goes on without one"
  set -- --parquet "$@"
fi
exec "$target/debug/highwater" demo "$@"

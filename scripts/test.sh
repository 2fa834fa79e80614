#!/usr/bin/env bash
# All tests, on a stack of their own: it starts empty, beside a developer's own stack, and is stopped at the end, also
# after a failure. Data and logs of the last run stay in .highwater/stack-$PORT_BASE.
#
#   scripts/test.sh [ARGUMENTS FOR cargo test…]
#   KEEP_STACK=1 scripts/test.sh …      uses the stack as it is, and leaves it up: for running tests again and again
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PORT_BASE=${PORT_BASE:-20000}

# First, so that an error of the compiler comes before anything is started.
cargo test --workspace --no-run

if [[ -z ${KEEP_STACK:-} ]]; then
  trap 'compose/native/down.sh' EXIT
  WIPE=1 compose/native/down.sh
fi
compose/native/up.sh kafka connect mariadb postgres clickhouse
cargo test --workspace "$@"

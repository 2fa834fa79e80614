#!/usr/bin/env bash
# Writes checksums/ anew, after a change of versions.env: downloads everything of Maven's into an empty cache and records
# the SHA-256 of each file. Look at the difference before you commit it. (The integrity of the npm package is in
# versions.env: `npm view PACKAGE@VERSION dist.integrity` prints it.)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
HIGHWATER_CACHE=$(mktemp -d)
STACK_DIR=$(mktemp -d)
export HIGHWATER_CACHE STACK_DIR PIN=1
trap 'rm -rf "$HIGHWATER_CACHE" "$STACK_DIR"' EXIT
# shellcheck source=compose/native/lib.sh
source "$here/lib.sh"
mkdir -p "$LOGS" "$RUN/tmp"
# shellcheck source=compose/native/fetch.sh
source "$here/fetch.sh"
for file in "$here"/services/*.sh; do
  # shellcheck source=/dev/null
  source "$file"
done
rm -f "$here"/checksums/*.sha256
kafka_fetch
connect_fetch
registry_fetch
wc -l "$here"/checksums/*.sha256

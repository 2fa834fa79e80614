#!/usr/bin/env bash
# Lets docker's own client check compose/docker-compose.yml; says so and goes on where there is none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! docker compose version >/dev/null 2>&1; then
  echo "compose/docker-compose.yml is not checked: there is no docker with the compose plugin here"
  exit 0
fi
docker compose -f compose/docker-compose.yml config --quiet
echo "compose/docker-compose.yml is accepted by docker compose"

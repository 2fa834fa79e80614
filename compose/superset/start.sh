#!/usr/bin/env bash
# Prepare Superset's own database, import the dashboards, serve. Can be run again: everything is overwritten by its uuid.
set -euo pipefail

: "${SUPERSET_SECRET_KEY:?set it to a long random text, and keep it with the volume}"
: "${SUPERSET_ADMIN_PASSWORD:?set it to the password of the user admin}"
: "${CLICKHOUSE_URI:?set it to clickhousedb+connect://USER:PASSWORD@HOST:8123/DATABASE}"
here=$(cd "$(dirname "$0")" && pwd)
dashboards=${DASHBOARDS_DIR:-/app/highwater/dashboards}
export FLASK_APP="superset.app:create_app()"

superset db upgrade
if ! superset fab list-users 2>/dev/null | grep -q 'username:admin '; then
  superset fab create-admin --username admin --firstname High --lastname Water \
    --email admin@example.org --password "$SUPERSET_ADMIN_PASSWORD"
fi
superset init

archive=$(mktemp -d)/highwater.zip
python3 "$dashboards/build.py" "$CLICKHOUSE_URI" "$archive"
python3 "$here/import_assets.py" "$archive"
rm -f "$archive"

exec gunicorn --workers 1 --worker-class gthread --threads 8 --timeout 120 \
  --bind "${SUPERSET_BIND:-0.0.0.0:8088}" "superset.app:create_app()"

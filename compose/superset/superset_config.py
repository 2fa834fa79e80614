"""Superset's settings for the compose stack: one process, metadata in SQLite on a volume, plain HTTP on localhost."""

import os

# Also encrypts the stored passwords of databases: keep it with the volume. start.sh refuses to start without it.
SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]

SUPERSET_HOME = os.environ.get("SUPERSET_HOME", "/app/superset_home")
SQLALCHEMY_DATABASE_URI = f"sqlite:///{SUPERSET_HOME}/superset.db?check_same_thread=false"

# Security headers that force HTTPS; put a proxy with TLS in front before this leaves localhost.
TALISMAN_ENABLED = False
CONTENT_SECURITY_POLICY_WARNING = False

# A refresh asks ClickHouse, not a cache.
DASHBOARD_AUTO_REFRESH_MODE = "force"

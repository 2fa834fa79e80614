# shellcheck shell=bash
# An S3-compatible server: moto's, from Python's registry, in a virtual environment of its own. Keeps its objects in memory:
# they end with it. Any key and secret will do.

MOTO=$CACHE/moto-$MOTO_VERSION

s3_fetch() {
  [[ -e $MOTO/complete ]] && return
  need_packages python3=python3
  python3 -c 'import venv, ensurepip' 2>/dev/null || install_packages python3-venv
  lock_cache
  [[ -e $MOTO/complete ]] && unlock_cache && return
  say "downloading s3: moto $MOTO_VERSION"
  rm -rf "$MOTO"
  {
    python3 -m venv "$MOTO" && "$MOTO/bin/pip" install --quiet "moto[server,s3]==$MOTO_VERSION"
  } >"$LOGS/fetch-s3.log" 2>&1 </dev/null ||
    { explain_log fetch-s3 && fail "pip could not fetch moto; the log is $LOGS/fetch-s3.log"; }
  : >"$MOTO/complete"
  unlock_cache
}

s3_start() { launch s3 "$MOTO" "$MOTO/bin/python" "$MOTO/bin/moto_server" -H "$HOST" -p "$S3_PORT"; }

s3_answers() { answers_http "http://$HOST:$S3_PORT/moto-api/"; }

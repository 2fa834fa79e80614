# shellcheck shell=bash
# ClickHouse: the server at $CLICKHOUSE_URL if there is one, else the program `clickhouse` if it is on PATH (or
# $CLICKHOUSE_PROGRAM), else ClickHouse's library, which chx.c makes into a server.
# Users: `default` without a password, who may create databases and users; `lab` with the password `lab`; `planted`, whose password
# tests look for where it must not be.

CHDB=$CACHE/chdb-$CHDB_VERSION

clickhouse_program() { command -v "${CLICKHOUSE_PROGRAM:-clickhouse}"; }

clickhouse_fetch() {
  need_packages curl=curl
  [[ -z $(clickhouse_program) ]] || return 0
  [[ -x $CHDB/chx ]] && return
  [[ $(uname -m) == x86_64 ]] ||
    fail "ClickHouse's library is published for x86-64 only; here put a \`clickhouse\` on PATH or set CLICKHOUSE_URL"
  need_packages npm=npm gcc=gcc
  [[ -e /usr/include/stdlib.h ]] || install_packages libc6-dev
  lock_cache
  [[ -x $CHDB/chx ]] && unlock_cache && return
  say "downloading clickhouse: $CHDB_PACKAGE@$CHDB_VERSION"
  rm -rf "$CHDB.part"
  mkdir -p "$CHDB.part"
  (cd "$CHDB.part" && npm pack --loglevel=error "$CHDB_PACKAGE@$CHDB_VERSION") >"$LOGS/fetch-clickhouse.log" 2>&1 </dev/null ||
    { explain_log fetch-clickhouse && fail "npm could not fetch $CHDB_PACKAGE; the log is $LOGS/fetch-clickhouse.log"; }
  local package
  package=$(find "$CHDB.part" -name '*.tgz')
  verify_integrity "$package" "$CHDB_INTEGRITY"
  tar xzf "$package" -C "$CHDB.part" --strip-components=1 package/libchdb.so
  rm "$package"
  gcc -O1 -Wall -o "$CHDB.part/chx" "$NATIVE_DIR/chx.c" -ldl
  finish_fetch "$CHDB" "$CHDB_PACKAGE@$CHDB_VERSION"
}

write_clickhouse_users() {
  cat >"$RUN/clickhouse-users.xml" <<END
<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <access_management>1</access_management>
    </default>
    <lab>
      <password_sha256_hex>$(printf lab | sha256sum | cut -d' ' -f1)</password_sha256_hex>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </lab>
    <planted>
      <password>pl4nted-3</password>
      <networks><ip>127.0.0.1</ip><ip>::1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </planted>
  </users>
</clickhouse>
END
}

write_clickhouse_config() { # further elements as the argument
  cat >"$RUN/clickhouse.xml" <<END
<clickhouse>
  <max_server_memory_usage>${CLICKHOUSE_MEMORY:-2000000000}</max_server_memory_usage>
$1
</clickhouse>
END
}

# With CLICKHOUSE_DISK=64m its data are in a file system of that size, which ends with it and which nobody else sees: its files are
# those below /proc/PID/root. Tests fill it.
on_its_disk() {
  disk=()
  [[ -z ${CLICKHOUSE_DISK:-} ]] ||
    # shellcheck disable=SC2016
    disk=(unshare --map-root-user --mount sh -c 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"' -
      "$CLICKHOUSE_DISK" "$STACK/clickhouse")
}

clickhouse_start() {
  mkdir -p "$STACK/clickhouse"
  on_its_disk
  write_clickhouse_users
  if [[ -n $(clickhouse_program) ]]; then
    start_clickhouse_program
  else
    start_clickhouse_library
  fi
}

start_clickhouse_program() {
  write_clickhouse_config "  <path>$STACK/clickhouse/</path>
  <tmp_path>$STACK/clickhouse/tmp/</tmp_path>
  <user_files_path>$STACK/clickhouse/user_files/</user_files_path>
  <listen_host>$HOST</listen_host>
  <http_port>$CLICKHOUSE_HTTP_PORT</http_port>
  <tcp_port>$CLICKHOUSE_TCP_PORT</tcp_port>
  <logger><level>warning</level><console>1</console></logger>
  <user_directories>
    <users_xml><path>$RUN/clickhouse-users.xml</path></users_xml>
    <local_directory><path>$STACK/clickhouse/access/</path></local_directory>
  </user_directories>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <mark_cache_size>268435456</mark_cache_size>"
  launch clickhouse "$RUN" "${disk[@]}" "$(clickhouse_program)" server "--config-file=$RUN/clickhouse.xml"
}

# The library serves for as long as its query runs, and its query reads from standard input. That is a pipe which the
# process itself holds open for writing, so that it never ends, and needs nobody at the other side.
start_clickhouse_library() {
  local pipe=$RUN/clickhouse.stdin
  write_clickhouse_config "  <users_config>$RUN/clickhouse-users.xml</users_config>"
  [[ -p $pipe ]] || mkfifo "$pipe"
  rm -f "$RUN/clickhouse.ready"
  (
    exec 0<>"$pipe" 8>&- 9>&-
    export LIBCHDB=$CHDB/libchdb.so
    exec "${disk[@]}" setsid nohup "$CHDB/chx" "--config-file=$RUN/clickhouse.xml" "--path=$STACK/clickhouse" \
      "--http_port=$CLICKHOUSE_HTTP_PORT" "--tcp_port=$CLICKHOUSE_TCP_PORT" "--listen_host=$HOST" --multiquery \
      --query="SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP;
        SELECT * FROM file('/proc/self/fd/0', LineAsString, 'line String') FORMAT Null" >>"$LOGS/clickhouse.log" 2>&1
  ) &
  record_pid clickhouse "$!" "$RUN"
}

clickhouse_answers() { answers_http "http://$HOST:$CLICKHOUSE_HTTP_PORT/ping"; }

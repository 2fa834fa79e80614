# shellcheck shell=bash
# MariaDB from the machine's archive, and real MySQL: two services in one file, for they are set up alike.
# Both write a binary log as Debezium wants it, and have the user dbz/dbz with all rights.

# What both are told. The socket's name is relative to the data folder: a path would soon be too long for one.
binlog_options() { # NAME PORT SERVER_ID
  echo "--bind-address=$HOST" "--port=$2" "--socket=$1.sock" "--pid-file=$1.pid" --log-bin=binlog --binlog-format=ROW \
    --binlog-row-image=FULL --binlog-row-metadata=FULL "--server-id=$3" --innodb-buffer-pool-size=64M \
    --character-set-server=utf8mb4
}

# Run by the server at each start, before it takes connections; a statement a line. Not for the binary log.
write_init_file() {
  cat >"$RUN/$1-init.sql" <<'END'
SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS dbz@'%' IDENTIFIED BY 'dbz';
GRANT ALL ON *.* TO dbz@'%' WITH GRANT OPTION;
END
}

# The server greets whoever connects, once it takes connections.
greets() {
  is_listening "$1" && (exec 3<>"/dev/tcp/$HOST/$1" && read -r -t 2 -N 4 <&3) 2>/dev/null
}

# --- MariaDB ----------------------------------------------------------------------------------------------------------

mariadb_fetch() {
  need_packages mariadbd=mariadb-server-core mariadb-install-db=mariadb-server-core mariadb=mariadb-client-core
}

mariadb_start() {
  local data=$STACK/mariadb
  if [[ ! -e $data/mysql ]]; then
    rm -rf "$data.part"
    mariadb-install-db --no-defaults --user="$(id -un)" --datadir="$data.part" --skip-test-db \
      --auth-root-authentication-method=normal >"$LOGS/mariadb-install.log" 2>&1 ||
      fail "MariaDB's data folder could not be made; the log is $LOGS/mariadb-install.log"
    mv "$data.part" "$data"
    say "made MariaDB's data folder $data"
  fi
  write_init_file mariadb
  # shellcheck disable=SC2046
  launch mariadb "$data" mariadbd --no-defaults --user="$(id -un)" --datadir="$data" \
    $(binlog_options mariadb "$MARIADB_PORT" 1) --gtid-strict-mode=ON --innodb-log-file-size=32M --skip-name-resolve \
    --init-file="$RUN/mariadb-init.sql"
}

mariadb_answers() { greets "$MARIADB_PORT"; }

# --- MySQL ------------------------------------------------------------------------------------------------------------

MYSQL_TREE=$CACHE/mysql

# A MySQL server that the user has on PATH is taken. (MariaDB may have a `mysqld` too.)
has_own_mysql() { command -v mysqld >/dev/null && [[ $(mysqld --no-defaults --version) != *MariaDB* ]]; }

# Debian has MySQL in sid only. It is unpacked, not installed, together with its own C library; nothing else changes.
mysql_fetch() {
  has_own_mysql || is_fetched "$MYSQL_TREE" mysql-server-core && return
  [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] ||
    fail "MySQL can be fetched on Debian only; elsewhere install MySQL's server, so that \`mysqld\` is on PATH"
  lock_cache
  is_fetched "$MYSQL_TREE" mysql-server-core && unlock_cache && return
  say "downloading mysql: mysql-server-core from Debian sid, with the libraries that it needs"
  local apt=$CACHE/mysql.apt mirror deb
  rm -rf "$apt" "$MYSQL_TREE.part"
  mkdir -p "$apt"/{state/lists/partial,cache/archives/partial} "$MYSQL_TREE.part"
  : >"$apt/status"
  # From where this machine's own packages come.
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sed -n '\|/debian/*$| { p; q }') || true
  [[ -n $mirror ]] ||
    fail "apt has no Debian archive: run apt-get update first"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<END
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Debug::NoLocking "true";
END
  {
    APT_CONFIG=$apt/apt.conf apt-get -qq update &&
      APT_CONFIG=$apt/apt.conf apt-get -qq -y install --no-install-recommends --download-only mysql-server-core
  } >"$LOGS/fetch-mysql.log" 2>&1 </dev/null || fail "apt-get could not fetch MySQL; the log is $LOGS/fetch-mysql.log"
  for deb in "$apt"/cache/archives/*.deb; do
    case $deb in
      *perl* | */gcc-*) ;;
      *) dpkg -x "$deb" "$MYSQL_TREE.part" ;;
    esac
  done
  rm -rf "$apt"
  finish_fetch "$MYSQL_TREE" mysql-server-core
}

mysql_start() {
  local data=$STACK/mysql server usr=$MYSQL_TREE/usr lib
  if has_own_mysql; then
    server=(mysqld --no-defaults)
  else
    lib=$usr/lib/$(uname -m)-linux-gnu
    server=("$(find "$lib" -maxdepth 1 -name 'ld-linux-*.so.*' -print -quit)" --library-path "$lib:$usr/lib/mysql/private"
      "$usr/sbin/mysqld" --no-defaults "--basedir=$usr" "--lc-messages-dir=$usr/share/mysql"
      "--character-sets-dir=$usr/share/mysql/charsets" "--plugin-dir=$usr/lib/mysql/plugin")
  fi
  server+=(--user="$(id -un)" --secure-file-priv=NULL --innodb-redo-log-capacity=32M)
  if [[ ! -e $data/mysql.ibd ]]; then
    rm -rf "$data.part"
    say "making MySQL's data folder $data (some 20 s, once)"
    "${server[@]}" --datadir="$data.part" --initialize-insecure >"$LOGS/mysql-install.log" 2>&1 ||
      fail "MySQL's data folder could not be made; the log is $LOGS/mysql-install.log"
    mv "$data.part" "$data"
  fi
  write_init_file mysql
  # shellcheck disable=SC2046
  launch mysql "$data" "${server[@]}" --datadir="$data" $(binlog_options mysql "$MYSQL_PORT" 2) --gtid-mode=ON \
    --enforce-gtid-consistency=ON --mysqlx=OFF --performance-schema=OFF --init-file="$RUN/mysql-init.sql"
}

mysql_answers() { greets "$MYSQL_PORT"; }

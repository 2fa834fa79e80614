# shellcheck shell=bash
# PostgreSQL with logical decoding. It refuses to run as root: for root it runs as the user postgres, else as oneself.

postgres_fetch() { [[ -n $(postgres_programs) ]] || install_packages postgresql; }

# The folder of initdb and postgres: of the release that the data folder is of, else the newest.
postgres_programs() {
  local dir found='' data
  data=$(postgres_data)
  if [[ -e $data/PG_VERSION && -x /usr/lib/postgresql/$(<"$data/PG_VERSION")/bin/postgres ]]; then
    echo "/usr/lib/postgresql/$(<"$data/PG_VERSION")/bin"
    return
  fi
  for dir in /usr/lib/postgresql/*/bin; do
    if [[ -x $dir/postgres && (-z $found || ${dir//[^0-9]/} -gt ${found//[^0-9]/}) ]]; then found=$dir; fi
  done
  if [[ -z $found ]] && command -v initdb >/dev/null; then found=$(dirname "$(command -v initdb)"); fi
  echo "$found"
}

as_postgres() {
  if is_root; then
    setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"
  else
    "$@"
  fi
}

# The data folder: $STACK/postgres, or, where the user postgres cannot enter that (a checkout under /root), a folder in
# /var/lib/highwater that $STACK/postgres then points to.
postgres_data() { readlink -m "$STACK/postgres"; }

make_postgres_folder() {
  local data=$STACK/postgres
  if ! is_root; then
    mkdir -p "$data"
  elif as_postgres test -x "$STACK"; then
    install -d -o postgres -g postgres "$data"
  else
    data=/var/lib/highwater/postgres-$(sha256sum <<<"$STACK" | cut -c 1-12)
    install -d /var/lib/highwater
    install -d -o postgres -g postgres "$data"
    ln -sfn "$data" "$STACK/postgres"
    say "the user postgres cannot enter $STACK: PostgreSQL's data is in $data"
  fi
}

# After a kill, PostgreSQL refuses to start while its old pid exists, be it as a zombie. When its other processes have left
# the data folder, in which they all work, there is nothing to be afraid of.
remove_stale_lock() {
  local data=$1 old
  { read -r old <"$data/postmaster.pid"; } 2>/dev/null || return 0
  ! process_lives "$old" || return 0
  for _ in {1..50}; do
    if [[ -z $(find /proc -maxdepth 2 -name cwd -lname "$data" 2>/dev/null) ]]; then
      rm -f "$data/postmaster.pid"
      return
    fi
    sleep 0.1
  done
}

postgres_start() {
  local data programs
  data=$(postgres_data)
  if [[ ! -e $data/PG_VERSION ]]; then
    make_postgres_folder
    data=$(postgres_data)
    programs=$(postgres_programs)
    (cd / && as_postgres "$programs/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync) \
      >"$LOGS/postgres-initdb.log" 2>&1 </dev/null ||
      fail "PostgreSQL's data folder could not be made; the log is $LOGS/postgres-initdb.log"
    say "made PostgreSQL's data folder $data"
  fi
  remove_stale_lock "$data"
  programs=$(postgres_programs)
  local as=()
  if is_root; then as=(setpriv --reuid=postgres --regid=postgres --clear-groups --); fi
  launch postgres "$data" "${as[@]}" "$programs/postgres" -D "$data" -p "$POSTGRES_PORT" -c "listen_addresses=$HOST" \
    -c unix_socket_directories= -c wal_level=logical -c max_replication_slots=32 -c max_wal_senders=32 \
    -c shared_buffers=64MB -c fsync=off
}

postgres_answers() { "$(postgres_programs)/pg_isready" -h "$HOST" -p "$POSTGRES_PORT" -q; }

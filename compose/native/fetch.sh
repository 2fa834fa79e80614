# shellcheck shell=bash
# Downloads: system packages, Maven artifacts, npm packages. Everything is made in a temporary folder and moved into
# place when it is complete and checked, so that an interrupted download leaves nothing behind.

# Makes sure of system packages: need_packages COMMAND=PACKAGE… installs the packages whose command is not on PATH.
need_packages() {
  local pair package missing=()
  for pair in "$@"; do
    package=${pair#*=}
    command -v "${pair%=*}" >/dev/null || [[ " ${missing[*]} " == *" $package "* ]] || missing+=("$package")
  done
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

install_packages() {
  local sudo=()
  command -v apt-get >/dev/null || fail "missing: $* (the names of Debian's packages); install what gives them here"
  if ! is_root; then
    command -v sudo >/dev/null || fail "missing system packages; as root: apt-get install --no-install-recommends $*"
    sudo=(sudo)
  fi
  say "installing system packages: $*"
  lock_cache
  # Debian would otherwise make and start a cluster of its own as soon as PostgreSQL is installed.
  if [[ " $* " == *" postgresql "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
    "${sudo[@]}" mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
  { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "$@"; } >"$LOGS/apt.log" 2>&1 </dev/null ||
    { explain_log apt && fail "apt-get could not install: $*; the log is $LOGS/apt.log"; }
  unlock_cache
}

# Java 17 or later, which Kafka 4 needs.
need_java() {
  local version
  command -v java >/dev/null || install_packages default-jre-headless
  version=$(java -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p')
  ((${version:-0} >= 17)) || fail "Kafka needs Java 17 or later, and \`java\` here is ${version:-of unknown version}"
}

# Fetches artifacts with all that they depend on into $CACHE/NAME: fetch_jars NAME [-x EXCLUDED,…] GROUP:ARTIFACT:VERSION…
fetch_jars() {
  local name=$1 exclude=()
  shift
  if [[ $1 == -x ]]; then
    exclude=("-DexcludeArtifactIds=$2")
    shift 2
  fi
  local dir=$CACHE/$name key="$*"
  is_fetched "$dir" "$key" && return
  need_java
  need_packages mvn=maven
  lock_cache
  is_fetched "$dir" "$key" && unlock_cache && return
  say "downloading $name: $*"
  rm -rf "$dir.part"
  mkdir -p "$dir.part"
  write_pom "$@" >"$dir.part/pom.xml"
  # -C: a download whose checksum is not the one that the registry states is refused.
  run_maven "$name" -f "$dir.part/pom.xml" \
    "org.apache.maven.plugins:maven-dependency-plugin:$MAVEN_DEPENDENCY_PLUGIN_VERSION:copy-dependencies" \
    -DincludeScope=runtime "-DoutputDirectory=$dir.part" "${exclude[@]}"
  rm -rf "$dir.part/pom.xml" "$dir.part/target"
  verify_files "$name" "$dir.part"
  finish_fetch "$dir" "$key"
}

write_pom() {
  local coordinates group artifact version
  echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
  echo '<groupId>highwater</groupId><artifactId>stack</artifactId><version>1</version><dependencies>'
  for coordinates in "$@"; do
    IFS=: read -r group artifact version <<<"$coordinates"
    echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
  done
  echo '</dependencies></project>'
}

run_maven() {
  local name=$1 log
  shift
  log=$LOGS/fetch-${name//\//-}.log
  mvn -B -q -C "$@" >"$log" 2>&1 </dev/null || {
    tail -n 15 "$log" >&2
    fail "Maven could not fetch $name; the log is $log"
  }
}

# Compares a folder with the checksums in this repository: the same files, no more, no less, each with its SHA-256.
verify_files() {
  local name=$1 dir=$2 list=$NATIVE_DIR/checksums/${1//\//-}.sha256
  if [[ -n ${PIN:-} ]]; then
    (cd "$dir" && find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum) >"$list"
  elif ! (cd "$dir" && sha256sum --check --strict --quiet "$list" >&2) ||
    [[ $(find "$dir" -type f | wc -l) != $(wc -l <"$list") ]]; then
    fail "the download of $name is not what $list says; it was left in $dir to be looked at"
  fi
}

is_fetched() { [[ -e $1/.done && $(<"$1/.done") == "$2" ]]; }

finish_fetch() {
  local dir=$1
  echo "$2" >"$dir.part/.done"
  rm -rf "$dir"
  mv "$dir.part" "$dir"
  say "downloaded ${dir#"$CACHE/"}: $(du -sh "$dir" | cut -f1) in $dir"
  unlock_cache
}

# Checks a file against an integrity of npm's form, `sha512-BASE64`.
verify_integrity() {
  local file=$1 expected actual
  expected=$(base64 -d <<<"${2#sha512-}" | od -An -v -tx1 | tr -d ' \n')
  actual=$(sha512sum "$file" | cut -d' ' -f1)
  [[ -n $expected && $actual == "$expected" ]] || fail "$file has SHA-512 $actual, not $expected as versions.env says"
}

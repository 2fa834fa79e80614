#!/usr/bin/env bash
# Makes sure that this machine can build Highwater: Rust's toolchain, which the user installs, and system packages, which
# this installs. Quick when all is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

check_rust() {
  local wanted found
  wanted=$(sed -nE '/^rust-version/ { s/.*"([0-9.]+)".*/\1/p; q }' Cargo.toml)
  if ! command -v cargo >/dev/null || ! found=$(cargo --version 2>/dev/null | sed -nE 's/^cargo ([0-9.]+).*/\1/p'); then
    fail "Rust is missing. Highwater needs Rust $wanted or later; rustup installs it:

    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh

Then run make again. (No curl? apt-get install curl)"
  fi
  [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1) == "$wanted" ]] ||
    fail "Highwater needs Rust $wanted or later, and here is $found: rustup update stable"
}

# librdkafka is compiled from source: cmake, compilers, and the headers of OpenSSL, curl and zlib.
check_packages() {
  local missing=() sudo=() pair package
  # Programs may come from anywhere.
  for pair in cmake=cmake gcc=gcc g++=g++ make=make pkg-config=pkg-config curl=curl git=git python3=python3; do
    command -v "${pair%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  if command -v dpkg >/dev/null; then
    # Twice or more "installed": of several architectures.
    for package in libc6-dev libssl-dev libcurl4-openssl-dev zlib1g-dev; do
      [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed* ]] || missing+=("$package")
    done
  elif ! printf '#include <curl/curl.h>\n#include <openssl/ssl.h>\n#include <zlib.h>\n' |
    cc -E -o /dev/null - 2>/dev/null; then
    missing+=(libssl-dev libcurl4-openssl-dev zlib1g-dev)
  fi
  ((${#missing[@]} > 0)) || return 0
  command -v apt-get >/dev/null ||
    fail "missing, by the names of Debian's packages: ${missing[*]}; install what gives them on this system"
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "missing packages; as root: apt-get install ${missing[*]}"
    sudo=(sudo)
  fi
  echo "installing system packages: ${missing[*]}"
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600)
  "${apt[@]}" update
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
}

check_rust
check_packages

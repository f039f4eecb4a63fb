#!/usr/bin/env bash
# Installs the real programs that the tests drive, by package name, once and quietly:
# a browser, OpenID providers and apps that we did not write. Quick when all is there.
# Needs apt and root for what is missing; elsewhere the tests skip and say what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
have() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
have chromium chromium
have sqlite3 sqlite3
have curl curl
have pkill procps
have strace strace
have nginx nginx-light
have haproxy haproxy
have jupyter-notebook jupyter-notebook
have radicale radicale
have node nodejs
have npm npm
have systemd-analyze systemd
have promtool prometheus
have pebble pebble
have bwrap bubblewrap
have podman podman
have runc runc
have catatonit catatonit
[ -d /usr/lib/cni ] || missing+=(containernetworking-plugins)
have buildah buildah
have podman-compose podman-compose
have pgbouncer pgbouncer
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)

if ((${#missing[@]})); then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "components: not here: ${missing[*]} (apt-get install ${missing[*]}); tests that need them skip" >&2
    [ "${CI:-}" != true ] || exit 1
  else
    echo "components: installing ${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    # Tests start what they need: no package is to start a service of its own.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
      printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
      chmod +x /usr/sbin/policy-rc.d
    fi
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends "${missing[@]}" fonts-dejavu-core >/dev/null
  fi
fi

# Node packages, pinned by their lock file; the Go ones are built from deploy/peers/go.mod by the tests.
peers=deploy/peers
if [ -f "$peers/package-lock.json" ] && command -v npm >/dev/null 2>&1; then
  if ! cmp -s "$peers/package-lock.json" "$peers/node_modules/.installed-lock" 2>/dev/null; then
    echo "components: installing the test peers from npm" >&2
    npm ci --prefix "$peers" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    cp "$peers/package-lock.json" "$peers/node_modules/.installed-lock"
  fi
fi

#!/usr/bin/env bash
# Installs the peers that npm does not bring, as far as this machine lets it: Debian's servers and
# Sidekiq, Celery in an environment of its own, a program with Asynq. What fails stays absent.
set -uo pipefail
cd "$(dirname "$0")/.."
home=.cache/bench
mkdir -p "$home"

skip() {
  echo "absent: $1" >&2
}

# Packages start their servers when installed; nothing here wants one that runs by itself.
policy=/usr/sbin/policy-rc.d
install_debian() {
  local own=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && own=1
  fi
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
  local code=$?
  [ -n "$own" ] && rm -f "$policy"
  return $code
}

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get -qq update || skip "Debian's lists"
  for package in beanstalkd nats-server rabbitmq-server ruby-sidekiq python3-venv; do
    install_debian "$package" || skip "$package"
  done
  command -v go >/dev/null || install_debian golang-go || skip "golang-go"
else
  skip "Debian's packages, which take root and apt-get"
fi

if python3 -m venv "$home/celery"; then
  "$home/celery/bin/pip" install -q -r bench/foreign/requirements.txt || skip "celery"
else
  skip "celery"
fi

if command -v go >/dev/null; then
  (cd bench/foreign/asynq && go build -o "../../../$home/asynq-ends" .) || skip "asynq"
else
  skip "asynq"
fi

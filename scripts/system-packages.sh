#!/usr/bin/env bash
# What comes from outside PyPI. Installs it where it can (root on Debian or Ubuntu), else says what is missing.
#
#   system-packages.sh        what the loop needs: libnuma for vLLM's CPU backend, venv to install uv
#   system-packages.sh test   what the tests run for real: PostgreSQL, Chromium, Prometheus; without one its tests skip
set -euo pipefail

missing=()
if [ "${1:-}" = test ]; then
  compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
  command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
  command -v promtool >/dev/null || missing+=(prometheus)
else
  ldconfig -p | grep -q 'libnuma\.so\.1' || missing+=(libnuma1)
  command -v uv >/dev/null || "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
elif [ "${1:-}" = test ]; then
  echo "not installed: ${missing[*]} (Debian names); the tests that need them are skipped" >&2
else
  echo "error: missing system packages: ${missing[*]}; install them (Debian names), for example: sudo apt-get install ${missing[*]}" >&2
  exit 2
fi

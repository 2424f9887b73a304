#!/usr/bin/env bash
# What the CPU loop needs from outside PyPI: libnuma for vLLM's CPU backend, venv to install uv. Installs it where it
# can, else says what is missing.
set -euo pipefail

missing=()
ldconfig -p | grep -q 'libnuma\.so\.1' || missing+=(libnuma1)
command -v uv >/dev/null || "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "error: missing system packages: ${missing[*]}; install them (Debian names), for example: sudo apt-get install ${missing[*]}" >&2
  exit 2
fi

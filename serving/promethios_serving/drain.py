"""Make a server ready to be ended: Kubernetes runs this as the `preStop` hook, before it sends SIGTERM.

    python -m promethios_serving.drain --settle_s 10 --wait_s 300

From its first moment on `/ready` says 503, so no new client is sent here, and each response closes its connection. It
returns once nothing is in flight and no review waits for the hub, but not before --settle_s and at the latest after
--wait_s: SIGTERM then meets an idle server, and no stream is cut. Idle connections are closed by the server after 5 s
(VLLM_HTTP_TIMEOUT_KEEP_ALIVE), so --settle_s should be above that, and above the time in which a load balancer learns.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Final

from promethios.errors import PromethiosError
from promethios_serving.settings import Settings

_MUST_BE_ZERO: Final = ("promethios_requests_in_flight", "promethios_reviews_spooled")
"""Gauges of /metrics, which adds the processes of `--api-server-count` up."""
_PERIOD_S: Final = 0.25
_TIMEOUT_S: Final = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Drain the server of this environment; returns 0 when it is idle, 1 when time ran out first."""
    parser = argparse.ArgumentParser(prog="promethios_serving.drain", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="address of the server (default %(default)s)")
    parser.add_argument("--settle_s", type=float, default=10.0, help="shortest wait, in seconds (default %(default)s)")
    parser.add_argument("--wait_s", type=float, default=300.0, help="longest wait, in seconds (default %(default)s)")
    args = parser.parse_args(argv)
    try:
        Settings.from_environment(os.environ).drain_file.touch()
    except (PromethiosError, OSError) as error:
        sys.stderr.write(f"error: the server cannot be told to drain: {error}\n")
        return 2
    started = time.monotonic()
    time.sleep(min(args.settle_s, args.wait_s))
    while not (idle := is_idle(args.url)) and time.monotonic() - started < args.wait_s:
        time.sleep(_PERIOD_S)
    return 0 if idle else 1


def is_idle(url: str) -> bool:
    """Return whether nothing is in flight and nothing waits for the hub; True for a server that is gone."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=_TIMEOUT_S) as reply:
            lines = reply.read().decode().splitlines()
    except ConnectionRefusedError:
        return True
    except (OSError, http.client.HTTPException) as error:
        return isinstance(getattr(error, "reason", None), ConnectionRefusedError)
    samples = dict(line.rsplit(" ", 1) for line in lines if line.startswith(_MUST_BE_ZERO))
    return all(float(samples.get(name, 0)) == 0 for name in _MUST_BE_ZERO)


if __name__ == "__main__":
    sys.exit(main())

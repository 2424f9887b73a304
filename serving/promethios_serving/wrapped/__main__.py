"""Run the server of wrapped mode: `python -m promethios_serving.wrapped --host 127.0.0.1 --port 8000`.

Settings are the environment variables PROMETHIOS_*; `promethios serve --upstream URL` sets them and runs this.
"""

from __future__ import annotations

import argparse
import os
import sys

import uvicorn

from promethios.errors import PromethiosError
from promethios_serving.decision_log import LOGGER, show_log
from promethios_serving.header_limits import limited_headers
from promethios_serving.settings import Settings
from promethios_serving.wrapped.app import WrappedServer


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    parser = argparse.ArgumentParser(prog="promethios_serving.wrapped", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default %(default)s)")
    args = parser.parse_args()
    try:
        settings = Settings.from_environment(os.environ)
        app = WrappedServer(settings)
    except PromethiosError as error:
        return _mistake(error)
    show_log()
    LOGGER.info("wrapped mode listens on http://%s:%d; what it says is not certified", args.host, args.port)
    http = limited_headers(settings.max_header_bytes, settings.header_timeout_s)
    config = uvicorn.Config(
        app, host=args.host, port=args.port, loop="uvloop", http=http, ws="none", lifespan="on",
        access_log=False, log_level="warning", server_header=False, date_header=False,
    )  # fmt: skip
    try:
        uvicorn.Server(config).run()
    except KeyboardInterrupt:  # uvicorn ends with the signal that ended it
        pass
    except SystemExit:
        if app.failure is None:
            raise
        return _mistake(app.failure)
    return 0


def _mistake(error: PromethiosError) -> int:
    sys.stderr.write(f"error: {error}\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

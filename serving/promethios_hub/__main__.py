"""Serve the hub: `python -m promethios_hub`, which `promethios hub` becomes.

python -m promethios_hub --host 127.0.0.1 --port 8080
python -m promethios_hub migrate         bring the database's tables to this version, and end
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

import uvicorn

from promethios.errors import ConfigError, PromethiosError, ServingError
from promethios_hub.api.callers import LOCAL_HOSTS
from promethios_hub.app import create_app
from promethios_hub.database import NewerDatabase, database_url, migrate, open_database
from promethios_hub.settings import HubSettings
from promethios_serving.json_log import JsonLines

_DATABASE_WAIT_S: Final = 60.0


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Serve until a signal ends it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="promethios_hub", description=__doc__)
    parser.add_argument("action", nargs="?", choices=("serve", "migrate"), default="serve")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    args = parser.parse_args(argv)
    try:
        settings = HubSettings.from_environment(environment)
        if args.action == "migrate":
            return asyncio.run(_migrate(settings))
        if settings.access_file is None and args.host not in LOCAL_HOSTS:
            raise ConfigError(
                f"--host {args.host} without PROMETHIOS_HUB_ACCESS_FILE would let everybody in; set the file"
            )
        app = create_app(settings)
        # now, for a message instead of a traceback; the application migrates as well, for other servers
        asyncio.run(_migrate_when_there(settings))
    except PromethiosError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("promethios").info("hub on http://%s:%d, console at /console", args.host, args.port)
    uvicorn.run(
        app,
        host=args.host,
        port=args.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=25,
        server_header=False,
    )
    return 0


async def _migrate_when_there(settings: HubSettings) -> None:
    """Wait a while for a database that starts together with the hub.

    Raises ServingError when it does not come, and NewerDatabase at once.
    """
    deadline = time.monotonic() + _DATABASE_WAIT_S
    while True:
        try:
            await _migrate(settings)
            return
        except NewerDatabase:
            raise
        except ServingError as error:
            if time.monotonic() > deadline:
                raise
            sys.stderr.write(f"waiting for the database: {error}\n")
        await asyncio.sleep(2)


async def _migrate(settings: HubSettings) -> int:
    engine = open_database(database_url(settings.database_url))
    try:
        await migrate(engine)
    finally:
        await engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Check the wrapper's settings and telemetry file without starting anything.

    python -m promethios_serving.check_settings

`promethios serve` runs it first, so that a wrong setting costs a second and not the start of vLLM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from promethios.errors import PromethiosError
from promethios_serving.access.access_file import AccessFile
from promethios_serving.audit.audit_log import AuditLog
from promethios_serving.reviews.spool import Spool
from promethios_serving.settings import Settings
from promethios_serving.telemetry.choice import signed_telemetry, telemetry_source


def main(environment: Mapping[str, str]) -> int:
    """Return 0 when the settings hold; otherwise say why not on stderr and return the error's exit code."""
    try:
        settings = Settings.from_environment(environment)
        telemetry_source(settings)
        signed_telemetry(settings)
        if settings.access_file:
            AccessFile(settings.access_file)
        if settings.audit_log:
            AuditLog(settings.audit_log).close()
        if settings.hub_url:
            Spool(settings.spool_dir, "check", settings.spool_max_bytes).close()
    except PromethiosError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))

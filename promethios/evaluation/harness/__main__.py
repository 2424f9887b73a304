"""lm-evaluation-harness with our tasks and our architecture known to it.

    python -m promethios.evaluation.harness run --model hf --model_args pretrained=runs/nano --tasks promethios_native
    python -m promethios.evaluation.harness path        # the folder for lm_eval --include_path

Everything but `path` goes to lm_eval as it is. A model that transformers knows itself needs no more than
`lm_eval --include_path "$(python -m promethios.evaluation.harness path)"`.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Final

TASKS: Final = Path(__file__).parent / "lm_eval_tasks"


def main() -> None:
    """Print the folder of the tasks, or run lm_eval with it."""
    if sys.argv[1:] == ["path"]:
        sys.stdout.write(f"{TASKS}\n")
        return
    import promethios.model.governance_sentinel_8b  # noqa: F401  transformers learns the architecture

    if "run" in sys.argv[1:2] and "--include_path" not in sys.argv:
        sys.argv += ["--include_path", str(TASKS)]
    runpy.run_module("lm_eval", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

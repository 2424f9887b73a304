"""The project runs on any machine: no file names this one's folders or the host that packages came from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Put together here, so that this file does not contain what it looks for.
FORBIDDEN = [
    "/" + "work/",
    "pypi" + ".org",
    "python" + "hosted.org",
    "download." + "pytorch.org",
    "--index" + "-url",
    "--extra-index" + "-url",
]


def project_files() -> list[Path]:
    """Return the files that are tracked or would be, by git's own rules."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("text", FORBIDDEN)
def test_no_file_contains(text: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the files of the project cannot be told from others")
    found = [str(path.relative_to(ROOT)) for path in project_files() if text.encode() in path.read_bytes()]
    assert not found, f"{text} stands in {', '.join(found)}"

"""One version: the package, the project file and the changelog say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import promethios

ROOT = Path(__file__).parents[2]
RELEASE = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


def test_the_package_and_the_project_file_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == promethios.__version__


def test_the_newest_release_in_the_changelog_is_this_version() -> None:
    releases = RELEASE.findall((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert releases[0] == promethios.__version__
    assert releases == sorted(releases, key=lambda version: [int(part) for part in version.split(".")], reverse=True)

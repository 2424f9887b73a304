"""The images' recipes and the script that builds them; the real builds are part of `make e2e`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import promethios

Build = Callable[..., tuple[int, str, list[str]]]
ROOT = Path(__file__).parents[2]
RECIPES = {path.parent.name: path.read_text(encoding="utf-8") for path in (ROOT / "images").glob("*/Dockerfile")}
by_recipe = pytest.mark.parametrize("recipe", RECIPES)
BUILDER = """#!/bin/sh
[ "$1" = info ] && exit {info}
echo "$(basename "$0")" "$@" >> "{log}"
exit {build}
"""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Run the script with stand-ins for the builders; returns the process and what the builders were told."""
    log = tmp_path / "log"

    def run(builders: dict[str, int], *arguments: str, code: int = 0, **environment: str) -> tuple[int, str, list[str]]:
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("bash", "sed", "git", "basename", "dirname"):
            found = subprocess.check_output(["which", name], text=True).strip()
            (programs / name).symlink_to(found)
        for name, info in builders.items():
            (programs / name).write_text(BUILDER.format(info=info, log=log, build=code))
            (programs / name).chmod(0o755)
        done = subprocess.run(
            ["bash", str(ROOT / "scripts" / "build-images.sh"), *arguments],
            env={"PATH": str(programs), "HOME": os.environ["HOME"], **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, log.read_text().splitlines() if log.exists() else []

    return run


def test_the_first_builder_that_works_is_taken(build: Build) -> None:
    code, output, told = build({"docker": 1, "podman": 0, "buildah": 0})
    assert code == 0, output
    built = [f"{name}:{promethios.__version__}" for name in ("train", "engine", "engine-cpu", "engine-wrapped", "hub")]
    assert [re.findall(r"--tag promethios/(\S+)", command) for command in told] == [[name] for name in built]
    assert all(command.startswith("podman build --file images/") and command.endswith(" .") for command in told)


def test_the_engine_for_a_cpu_is_the_same_recipe_with_another_environment(build: Build) -> None:
    code, output, told = build({"docker": 0}, IMAGES="engine engine-cpu")
    assert code == 0, output
    cuda, cpu = told
    assert all("--file images/engine/Dockerfile" in command for command in told)
    assert "--build-arg REQUIREMENTS=serve-cpu.txt --build-arg PACKAGES=libnuma1" in cpu
    assert "REQUIREMENTS" not in cuda


def test_an_image_that_does_not_exist_is_refused_with_those_that_do(build: Build) -> None:
    code, output, told = build({"docker": 0}, IMAGES="trian")
    assert (code, told) == (2, [])
    assert "trian is none of train, engine, engine-cpu, engine-wrapped and hub" in output


def test_registry_tag_and_build_arguments_go_on_to_the_build_and_the_push(build: Build) -> None:
    settings = {"REGISTRY": "registry.example/me", "TAG": "rc1", "PUSH": "1", "IMAGES": "train"}
    code, output, told = build({"buildah": 0}, "--build-arg", "BASE=python:3.12-slim", **settings)
    assert code == 0, output
    assert "--tag registry.example/me/promethios/train:rc1 " in told[0]
    assert "--build-arg BASE=python:3.12-slim" in told[0]
    assert told[1] == "buildah push registry.example/me/promethios/train:rc1"


def test_without_a_builder_it_says_what_to_install(build: Build) -> None:
    code, output, _ = build({"docker": 1})
    assert code == 2
    assert "no docker, podman or buildah works here" in output


def test_a_build_that_fails_fails_the_script_and_nothing_is_pushed(build: Build) -> None:
    code, _, told = build({"docker": 0}, code=3, PUSH="1")
    assert code == 3
    assert len(told) == 1


@by_recipe
def test_base_and_tools_are_pinned_and_the_user_is_not_root(recipe: str) -> None:
    text = RECIPES[recipe]
    assert re.search(r"^ARG BASE=\S+:\d\S*$", text, re.MULTILINE)
    assert ":latest" not in text
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    [ours], [theirs] = (re.findall(r"UV_VERSION *:?= *(\S+)", content) for content in (text, makefile))
    assert ours == theirs
    assert "--require-hashes" in text
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "10001:10001"
    assert f"ARG VERSION={promethios.__version__}" in text


def test_what_the_builds_copy_is_in_the_context_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    script = (ROOT / "scripts" / "build-images.sh").read_text(encoding="utf-8")
    environments = re.findall(r"REQUIREMENTS=(\S+\.txt)", script + RECIPES["engine"])
    copied = {
        source.replace("${REQUIREMENTS}", environment)
        for text in RECIPES.values()
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.*) \S+$", text, re.MULTILINE)
        for source in line.split()
        for environment in environments
    }
    assert copied == allowed
    assert all((ROOT / path).exists() for path in allowed)

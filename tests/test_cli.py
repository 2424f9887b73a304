from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import promethios
from promethios import cli
from promethios.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("words", nargs="*")


def run_with(argv: list[str], seen: list[argparse.Namespace] | None = None) -> int:
    def run(args: argparse.Namespace) -> int:
        if seen is not None:
            seen.append(args)
        return 0

    return cli.run_command(add_arguments, run, argv)


def raising(error: BaseException) -> int:
    def run(args: argparse.Namespace) -> int:
        raise error

    return cli.run_command(add_arguments, run, ["--output_dir", "x"])


def promethios_command(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "promethios.cli", *argv],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_verb_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    for name, verb in cli.VERBS.items():
        assert [name, verb.summary] in lines


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"promethios {promethios.__version__}\n"


def test_no_verb_shows_the_help_and_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "verbs:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["generat"], "there is no verb 'generat'; did you mean 'generate'?"),
        (["xyz"], "there is no verb 'xyz'; allowed: generate, plan, train"),
        (["--versoin"], "there is no option --versoin; did you mean '--version'?"),
    ],
)
def test_an_unknown_verb_or_option_is_named_with_the_nearest(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_its_module(verb: str) -> None:
    assert importlib.util.find_spec(f"promethios.{cli.VERBS[verb].module}") is not None


def test_a_verb_is_run_with_the_arguments_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 7

    module = SimpleNamespace(__doc__="A verb.", add_arguments=add_arguments, run=run)
    monkeypatch.setattr(cli, "VERBS", {"walk": cli.Verb("walking", "walk about")})
    monkeypatch.setitem(sys.modules, "promethios.walking", module)
    assert cli.main(["walk", "--output-dir=here", "--fast", "a-b"]) == 7
    assert vars(seen[0]) == {"output_dir": "here", "fast": True, "words": ["a-b"]}


@pytest.mark.parametrize("option", [["--output_dir", "a-b"], ["--output-dir", "a-b"], ["--output-dir=a-b"]])
def test_an_option_may_be_spelt_with_hyphens_and_its_value_stays(option: list[str]) -> None:
    seen: list[argparse.Namespace] = []
    assert run_with(option, seen) == 0
    assert seen[0].output_dir == "a-b"


def test_what_follows_two_hyphens_is_left_alone() -> None:
    seen: list[argparse.Namespace] = []
    assert run_with(["--output_dir", "x", "--", "--some-flag"], seen) == 0
    assert seen[0].words == ["--some-flag"]


@pytest.mark.parametrize("option", ["--output_dri=x", "--output-dri", "--outputdir"])
def test_a_misspelt_option_is_named_even_when_it_was_required(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_with([option, "x"])
    assert ended.value.code == 2
    assert f"there is no option {option.removesuffix('=x')}; did you mean '--output_dir'?" in capsys.readouterr().err


def test_options_cannot_be_abbreviated() -> None:
    with pytest.raises(SystemExit):
        run_with(["--output", "x"])


def test_a_mistake_of_the_user_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(ConfigError("config.yaml: epochs: -1 is not allowed")) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: config.yaml: epochs: -1 is not allowed\n")


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())


def test_a_missing_extra_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")) == 2
    assert capsys.readouterr().err == "error: torch is not installed; install promethios with its extra train\n"


def test_any_other_missing_module_is_a_defect() -> None:
    with pytest.raises(ModuleNotFoundError):
        raising(ModuleNotFoundError("No module named 'promethios.x'", name="promethios.x"))


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "error: No space left on device\n"),
        (PermissionError(13, "Permission denied", "/data/x"), "error: Permission denied: /data/x\n"),
    ],
)
def test_a_full_or_forbidden_disk_is_no_defect(error: OSError, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(error) == 2
    assert capsys.readouterr().err == line


def test_any_other_os_error_is_a_defect() -> None:
    with pytest.raises(FileNotFoundError):
        raising(FileNotFoundError(2, "No such file or directory", "x"))


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_went_away_ends_the_command_quietly() -> None:
    code = "import sys; from promethios.cli import main; sys.stdin.read(); sys.exit(main(['tags', '<gov:trust=1>']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr.read() == b""


def test_tags_explains_telemetry_from_an_argument_or_stdin() -> None:
    text = "<gov:emotion=FOCUSED;age=42><gov:trust=0.72>"
    from_argument = promethios_command("tags", text, "--domain", "healthcare")
    assert from_argument.returncode == 0, from_argument.stderr
    fields: dict[str, Any] = dict(line.split(maxsplit=1) for line in from_argument.stdout.splitlines())
    assert fields["tags"] == "<gov:trust=0.72><gov:emotion=FOCUSED;age=42>"
    assert json.loads(fields["state"]) == {"trust": 0.72, "emotion": {"value": "FOCUSED", "age_s": 42.0}}
    assert fields["stale"] == "emotion (level 1)"
    assert fields["missing"] == "verify, attest, bound, intensity, decision, model"
    assert fields["degraded"].startswith("yes")
    assert fields["header"].startswith("<|gov|> <|g:trust|> <|v:072|> ")
    assert fields["header"].endswith("<|g:domain|> <|domain:00|> <|v:075|> <|/gov|>")
    assert promethios_command("tags", "--domain", "healthcare", stdin=text).stdout == from_argument.stdout


def test_tags_takes_the_short_form() -> None:
    result = promethios_command("tags", "--telemetry", "trust=0.9,verify=0.9,attest=0.9,bound=0.9")
    assert result.returncode == 0, result.stderr
    assert "degraded  no\n" in result.stdout
    assert "stale     -\n" in result.stdout


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["<gov:trst=0.2>"], "error: telemetry has no channel 'trst'; did you mean 'trust'?\n"),
        (["--telemetry", "trust=x"], "error: telemetry trust='x' is not allowed: give a number, clamped to [0, 1]\n"),
        (["", "--domain", "helthcare"], "error: there is no domain 'helthcare'; did you mean 'healthcare'?\n"),
    ],
)
def test_tags_refuses_in_one_line_what_it_cannot_read(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tags", *argv]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


def test_importing_the_command_line_is_light() -> None:
    code = "import sys, promethios.cli; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    ).stdout
    for package in ("torch", "numpy", "yaml", "transformers", "vllm"):
        assert repr(package) not in loaded

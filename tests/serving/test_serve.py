from __future__ import annotations

import argparse
import io
import json
import shutil
import socket
import sys
from collections.abc import Iterator
from logging.config import DictConfigurator
from pathlib import Path

import pytest

from promethios import serve
from promethios.cli import build_parser
from promethios.errors import ModelFolderError, PromethiosError, ServingError
from promethios.evaluation.lineage import LINEAGE
from promethios_serving.json_log import JsonLines


def arguments(folder: Path, *more: str) -> argparse.Namespace:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return build_parser(serve.add_arguments).parse_args(["--model_path", str(folder), "--port", str(port), *more])


@pytest.fixture
def folder(nano_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model folder to break."""
    copy = tmp_path / "model"
    shutil.copytree(nano_folder, copy)
    return copy


def refused(folder: Path, *more: str, error: type[PromethiosError], said: str) -> None:
    with pytest.raises(error) as caught:
        serve.check(arguments(folder, *more))
    assert said in str(caught.value)


def test_a_whole_calibrated_folder_passes(folder: Path) -> None:
    serve.check(arguments(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, error=ModelFolderError, said="lacks")


def test_a_folder_without_calibration_is_refused_and_says_how_to_make_one(folder: Path) -> None:
    (folder / "governance_calibration.json").unlink()
    refused(folder, error=ModelFolderError, said="promethios evaluate")


def test_a_calibration_of_other_weights_is_refused(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as stream:
        stream.write(b" ")
    refused(folder, error=ModelFolderError, said="belongs to weights")


def test_a_lineage_of_other_weights_is_refused_before_vllm_starts(folder: Path) -> None:
    (folder / LINEAGE).write_text('{"weights_sha256": "ffff"}', encoding="utf-8")
    refused(folder, error=ModelFolderError, said="lineage.json: weights_sha256 is ffff, the folder holds")


def test_a_folder_that_was_never_exported_is_refused_where_a_lineage_is_required(folder: Path) -> None:
    refused(folder, "--require_lineage", error=ModelFolderError, said="lineage.json is missing; serve a folder that")
    args = arguments(folder, "--require_lineage")
    assert serve.server_environment(args, {}, on_cpu=True)["PROMETHIOS_REQUIRE_LINEAGE"] == "1"


def test_a_folder_without_certificate_is_refused_and_says_how_to_make_one(folder: Path) -> None:
    (folder / "governance_certificate.json").unlink()
    refused(folder, error=ModelFolderError, said="governance_certificate.json is missing; run `promethios evaluate")


def test_a_certificate_of_another_calibration_is_refused(folder: Path) -> None:
    with (folder / "governance_calibration.json").open("a") as stream:
        stream.write("\n")
    refused(folder, error=ModelFolderError, said="certifies calibration")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--telemetry_file", "{tmp}/t.yaml"), "trust='high'"),
        (("--telemetry_url", "ftp://h/"), "http:// or https://"),
        (("--telemetry_file", "t.yaml", "--telemetry_url", "http://h/"), "both set"),
        (("--default_domain", "helthcare"), "did you mean 'healthcare'"),
    ],
)
def test_a_bad_setting_ends_the_command_before_vllm_starts(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: tuple[str, ...], said: str
) -> None:
    (tmp_path / "t.yaml").write_text("trust: high", encoding="utf-8")
    args = arguments(folder, *(option.replace("{tmp}", str(tmp_path)) for option in more))
    assert serve.run(args) == 2
    message = capfd.readouterr().err
    assert message.startswith("error: ")
    assert said in message


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_refused(folder: Path, taken_port: int) -> None:
    refused(folder, "--port", str(taken_port), error=ServingError, said=f"port {taken_port} on 127.0.0.1 is in use")


@pytest.mark.parametrize(
    ("more", "said"),
    [(("--port", "70000"), "1 to 65535"), (("--host", "no.such.host.invalid"), "not an address")],
)
def test_an_impossible_address_is_refused(folder: Path, more: tuple[str, ...], said: str) -> None:
    refused(folder, *more, error=ServingError, said=said)


def test_the_command_starts_stock_vllm_with_the_guard(tmp_path: Path) -> None:
    args = arguments(tmp_path, "--max_model_len", "256", "--", "--max-num-seqs", "4")
    command = serve.server_command(args, on_cpu=True)
    assert command[1:3] == ["-m", "vllm.entrypoints.launchers.api_server.entry"]
    assert command[command.index("--middleware") + 1] == "promethios_serving.fail_closed.RequireGovernance"
    assert command[command.index("--dtype") + 1] == "float32"
    assert "--enforce-eager" in command
    assert command[-2:] == ["--max-num-seqs", "4"]


def test_on_a_cpu_the_prefix_cache_keeps_short_prompts_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    command = serve.server_command(arguments(tmp_path), on_cpu=True)
    assert command[command.index("--block-size") + 1] == "32"
    command = serve.server_command(arguments(tmp_path, "--", "--block-size", "64"), on_cpu=True)
    assert command[-2:] == ["--block-size", "64"]


def test_on_cuda_the_model_s_own_number_format_is_used(tmp_path: Path) -> None:
    command = serve.server_command(arguments(tmp_path), on_cpu=False)
    assert command[command.index("--dtype") + 1] == "auto"
    assert "--enforce-eager" not in command
    assert "--block-size" not in command


def test_where_nobody_looks_at_a_terminal_vllm_logs_as_the_wrapper_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    args, variable = arguments(tmp_path), "VLLM_LOGGING_CONFIG_PATH"
    config = json.loads(Path(serve.server_environment(args, {}, on_cpu=True)[variable]).read_text(encoding="utf-8"))
    assert DictConfigurator(config).resolve(config["formatters"]["json"]["()"]) is JsonLines
    for own in ({"VLLM_LOGGING_LEVEL": "INFO"}, {variable: "mine.json"}):
        assert serve.server_environment(args, own, on_cpu=True).get(variable) == own.get(variable)
    assert variable not in serve.server_environment(arguments(tmp_path, "--verbose"), {}, on_cpu=True)


def test_the_plugins_are_always_on_and_defaults_give_way(tmp_path: Path) -> None:
    args = arguments(tmp_path, "--default_domain", "legal")
    own = {"VLLM_PLUGINS": "", "VLLM_CPU_KVCACHE_SPACE": "8", "PROMETHIOS_DEFAULT_DOMAIN": "general"}
    environment = serve.server_environment(args, own, on_cpu=True)
    assert environment["VLLM_PLUGINS"] == "promethios,promethios_api"
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "8"
    assert environment["PROMETHIOS_DEFAULT_DOMAIN"] == "legal"
    assert environment["TORCHDYNAMO_DISABLE"] == "1"
    assert "TORCHDYNAMO_DISABLE" not in serve.server_environment(args, {}, on_cpu=False)

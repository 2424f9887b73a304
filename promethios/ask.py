"""Ask a running server one question and show what it decided.

    promethios ask "Can I take ibuprofen with warfarin?" --domain healthcare
    promethios ask "..." --telemetry trust=0.3,emotion=ANXIOUS --telemetry_key "$PROMETHIOS_TELEMETRY_KEY"

Telemetry is taken from trusted callers only: the key is the one that the server was started with, and is read from
PROMETHIOS_TELEMETRY_KEY when the option is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from promethios.cli import run_command
from promethios.errors import ServingError
from promethios.telemetry import tags

if TYPE_CHECKING:
    from openai import OpenAI

KEY_VARIABLE = "PROMETHIOS_TELEMETRY_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("question", help="what to ask")
    parser.add_argument("--domain", help="domain of the question, such as healthcare")
    parser.add_argument(
        "--telemetry", help="telemetry to send along, as trust=0.3,emotion=ANXIOUS or as <gov:...> tags"
    )
    parser.add_argument("--telemetry_key", help=f"the server's telemetry key (default: {KEY_VARIABLE})")
    parser.add_argument("--base_url", default="http://127.0.0.1:8000/v1", help="the server (default %(default)s)")
    parser.add_argument("--api_key", default="none", help="the server's API key, if it has one")
    parser.add_argument("--model", default="promethios", help="the server's model name (default %(default)s)")
    parser.add_argument("--max_tokens", type=int, default=128, help="longest answer in tokens (default %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.0, help="sampling temperature (default %(default)s)")
    parser.add_argument("--stream", action="store_true", help="show the answer as it is written")


def run(args: argparse.Namespace) -> int:
    """Ask and print. Raises TelemetryError for bad telemetry, ServingError when the server gives no answer."""
    import openai

    governance = governance_input(args.domain, args.telemetry)
    key = args.telemetry_key or os.environ.get(KEY_VARIABLE, "")
    client = openai.OpenAI(base_url=args.base_url, api_key=args.api_key, max_retries=0)
    request: dict[str, Any] = {
        "model": args.model,
        "messages": [{"role": "user", "content": args.question}],
        "max_tokens": args.max_tokens,
        "temperature": args.temperature,
        "extra_body": {"governance": governance} if governance else None,
        "extra_headers": {"x-promethios-telemetry-key": key} if args.telemetry and key else None,
    }
    try:
        _print_streamed(client, request) if args.stream else _print_whole(client, request)
    except openai.APIConnectionError as error:
        cause = error.__cause__ or error
        raise ServingError(
            f"no server answers at {args.base_url} ({cause}); start one with `promethios serve`"
        ) from None
    except openai.APIStatusError as error:
        raise ServingError(f"the server refused the request ({error.status_code}): {_message(error.body)}") from None
    except openai.APIError as error:
        raise ServingError(f"the answer ended with an error: {error.message}") from None
    return 0


def governance_input(domain: str | None, telemetry: str | None) -> dict[str, Any]:
    """Return the request's `governance` field. Raises TelemetryError for malformed telemetry."""
    field: dict[str, Any] = {}
    if domain:
        field["domain"] = domain
    if telemetry:
        state = tags.parse(telemetry) if telemetry.lstrip().startswith("<") else tags.parse_assignments(telemetry)
        field["telemetry"] = state.to_mapping()
    return field


def decision_lines(governance: Mapping[str, Any] | None) -> Iterable[str]:
    """Return what a response's `governance` field says, line by line, for people."""
    if not governance:
        yield "decision     not shown by this server"
        return
    yield f"decision     {governance['decision']}"
    if governance.get("probability") is not None:
        probability, threshold = governance["probability"], governance["threshold"]
        degraded = ", telemetry absent or stale" if governance.get("degraded") else ""
        yield f"escalation   probability {probability:.2f}, threshold {threshold:.2f}{degraded}"
    yield f"id           {governance['id']}"


def _print_whole(client: OpenAI, request: dict[str, Any]) -> None:
    completion = client.chat.completions.create(**request)
    _write(*decision_lines((completion.model_extra or {}).get("governance")))
    _write(f"answer       {completion.choices[0].message.content or ''}")


def _print_streamed(client: OpenAI, request: dict[str, Any]) -> None:
    governance = None
    for chunk in client.chat.completions.create(**request, stream=True):
        governance = (chunk.model_extra or {}).get("governance", governance)
        for choice in chunk.choices:
            sys.stdout.write(choice.delta.content or "")
            sys.stdout.flush()
    _write("", *decision_lines(governance))


def _write(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _message(body: object) -> str:
    return str(body.get("message", body)) if isinstance(body, dict) else str(body)


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a command; returns the exit code."""
    return run_command(add_arguments, run, argv, description=__doc__)


if __name__ == "__main__":
    sys.exit(main())

"""Sampling parameters that would reach the reserved ids, or break the engine: refused, on whatever route they came.

Reserved ids lie far below every other logit (-100 and -1e4). Some parameters name ids and could lift or read them;
the repetition penalty multiplies logits and could push all the others below.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from promethios.telemetry.header import ReservedIds
from promethios_serving.openai_errors import RequestRefused

REPETITION_PENALTY: Final = (0.5, 2.0)
MAX_TOP_K: Final = 2**63 - 1
"""A larger one fits in no message to the engine; it is the one number that not every route of vLLM's checks."""
_ID_PARAMETERS: Final = ("logit_bias", "allowed_token_ids", "logprob_token_ids")


def check_sampling(sampling_params: Any, reserved: ReservedIds) -> None:
    """Check vLLM SamplingParams. Raises RequestRefused (400) naming the parameter."""
    for name in _ID_PARAMETERS:
        if any(token_id in reserved for token_id in getattr(sampling_params, name) or ()):
            raise _refused("reserved_ids", name, f"{name} names reserved token ids; leave them out")
    if sampling_params.logprobs == -1 or sampling_params.prompt_logprobs == -1:
        raise _refused("reserved_ids", "logprobs", "log-probabilities of the whole vocabulary are not available")
    if sampling_params.prompt_logprob_token_ids is not None:
        raise _refused("unsupported", "prompt_logprob_token_ids", "prompt_logprob_token_ids is not supported")
    if sampling_params.top_k > MAX_TOP_K:
        raise _refused("unsupported", "top_k", f"top_k {sampling_params.top_k} must be at most {MAX_TOP_K}")
    low, high = REPETITION_PENALTY
    if not low <= sampling_params.repetition_penalty <= high:
        message = f"repetition_penalty {sampling_params.repetition_penalty} must lie between {low} and {high}"
        raise _refused("unsupported", "repetition_penalty", message)


def _refused(reason: str, param: str, message: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, reason, message, param)

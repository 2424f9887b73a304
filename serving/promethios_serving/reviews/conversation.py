"""A request's conversation as role and plain text, whichever route it came by: what a reviewer reads.

Nothing here refuses: what is malformed is left out, and vLLM or the upstream says so to the client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

ROLES: Final = ("system", "developer", "user", "assistant", "tool")
Message = dict[str, str]


def plain_conversation(body: Mapping[str, Any]) -> list[Message]:
    """Return the conversation of a request body: chat, completions, responses or Anthropic's messages."""
    if "prompt" in body:
        return [{"role": "user", "content": _prompt(body["prompt"])}]
    conversation = []
    for name in ("instructions", "system"):
        if body.get(name):
            conversation.append({"role": "system", "content": plain_text(body[name])})
    turns = body.get("messages", body.get("input"))
    if isinstance(turns, str):
        turns = [{"role": "user", "content": turns}]
    if isinstance(turns, list):
        conversation += [plain_message(turn) for turn in turns if isinstance(turn, Mapping)]
    return conversation


def plain_text(content: Any) -> str:
    """Return a message's content as text: the text of its parts, and `[image_url]` for a part that has none."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_part(part) for part in content)
    return json.dumps(content)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return json.dumps(part)
    for name in ("text", "content"):
        if isinstance(part.get(name), str | list):
            return plain_text(part[name])
    if part.get("type") == "tool_use":
        return _call(part.get("name"), part.get("input"))
    return f"[{part.get('type', 'part')}]"


def plain_message(turn: Mapping[str, Any]) -> Message:
    """Return one turn as role and text, its tool calls included."""
    if turn.get("type") == "function_call":
        return {"role": "assistant", "content": _call(turn.get("name"), turn.get("arguments"))}
    if turn.get("type") == "function_call_output":
        return {"role": "tool", "content": plain_text(turn.get("output"))}
    texts = [plain_text(turn.get("content"))]
    calls = turn.get("tool_calls")
    if isinstance(calls, list):
        functions = [call.get("function") for call in calls if isinstance(call, Mapping)]
        texts += [_call(f.get("name"), f.get("arguments")) for f in functions if isinstance(f, Mapping)]
    role = turn.get("role")
    return {"role": role if role in ROLES else "user", "content": "\n".join(text for text in texts if text)}


def _call(name: Any, arguments: Any) -> str:
    return f"[call {name}: {arguments if isinstance(arguments, str) else json.dumps(arguments)}]"


def _prompt(prompt: Any) -> str:
    while isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    return f"[token ids: {' '.join(map(str, prompt))}]" if isinstance(prompt, list) else json.dumps(prompt)

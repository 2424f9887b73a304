"""Any language model behind an OpenAI-compatible URL, asked with the standard library: the base install is enough."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from promethios.errors import DatasetError

ATTEMPTS: Final = 5
FIRST_PAUSE_S: Final = 1.0
"""Before the second attempt; doubled before each further one."""
LONGEST_PAUSE_S: Final = 60.0
TIMEOUT_S: Final = 60.0

_RETRIED: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_ADVICE: Final = {
    401: "it wants another key; name the environment variable that holds it with {key_option}",
    403: "the key must not do this; name another one's environment variable with {key_option}",
    404: "there is no chat endpoint there, or no such model; the URL ends in /v1 as a rule",
}


class _Transient(Exception):
    """Something that another attempt may mend. pause_s: what the server asked to wait, if it did."""

    def __init__(self, problem: str, pause_s: float = 0.0) -> None:
        super().__init__(problem)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class ChatEndpoint:
    """Where to ask. url: up to /v1, or the whole address of chat completions. key: None for none.

    key_option: the command's option that names the key's environment variable, for messages. first_pause_s, timeout_s:
    seconds. stopped: set it to end waiting and asking.
    """

    url: str
    model: str
    key: str | None = None
    key_option: str = "--paraphrase_key_variable"
    first_pause_s: float = FIRST_PAUSE_S
    timeout_s: float = TIMEOUT_S
    stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise DatasetError(f"the chat URL {self.url!r} must start with http:// or https://: http://host:8000/v1")

    def ask(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the reply to a conversation; safe to call from many threads.

        A timeout, a lost connection, 429 and 5xx are tried again, ATTEMPTS times in all, with growing pauses. Raises
        DatasetError saying what the server said and what to do.
        """
        # Nothing but these two: some endpoints refuse a temperature, others max_tokens.
        content = json.dumps({"model": self.model, "messages": list(messages)}).encode()
        for attempt in range(ATTEMPTS):
            try:
                return self._reply_text(self._post(content))
            except _Transient as error:
                problem, pause_s = str(error), max(error.pause_s, self.first_pause_s * 2**attempt)
            if attempt + 1 < ATTEMPTS and self.stopped.wait(min(pause_s, LONGEST_PAUSE_S)):
                break
        raise self._error(f"{problem} ({ATTEMPTS} attempts); run the same command again when it is back")

    def _post(self, content: bytes) -> bytes:
        base = self.url.rstrip("/")
        address = base if base.endswith("/chat/completions") else f"{base}/chat/completions"
        headers = {"content-type": "application/json", "user-agent": "promethios"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        try:
            request = urllib.request.Request(address, content, headers)
            with urllib.request.urlopen(request, timeout=self.timeout_s) as reply:
                body: bytes = reply.read()
                return body
        except urllib.error.HTTPError as error:
            problem = f"HTTP {error.code}: {_said(error)}"
            if error.code not in _RETRIED:
                raise self._error(f"{problem}; {self._advice(error.code)}") from None
            raise _Transient(problem, _retry_after(error)) from None
        except urllib.error.URLError as error:
            raise _Transient(f"it cannot be reached: {error.reason}") from None
        except TimeoutError:
            raise _Transient(f"no answer within {self.timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Transient(f"the connection broke: {error or type(error).__name__}") from None

    def _reply_text(self, body: bytes) -> str:
        try:
            return str(json.loads(body)["choices"][0]["message"]["content"] or "")
        except (ValueError, LookupError, TypeError):
            shown = " ".join(body[:200].decode(errors="replace").split())[:80]
            raise self._error(
                f"it answered {shown!r}, which is no chat completion; the URL ends in /v1 as a rule"
            ) from None

    def _advice(self, status: int) -> str:
        return _ADVICE.get(status, "check URL and model").format(key_option=self.key_option)

    def _error(self, problem: str) -> DatasetError:
        return DatasetError(f"chat endpoint {self.url}, model {self.model!r}: {problem}")


def _said(error: urllib.error.HTTPError) -> str:
    """Return the message of an error's body, in the form that OpenAI gives it or as it is."""
    text = error.read(2000).decode(errors="replace")
    try:
        body: Any = json.loads(text)
        text = str(body["error"]["message"] if isinstance(body["error"], dict) else body["error"])
    except (ValueError, LookupError, TypeError):
        pass
    return " ".join(text.split())[:200] or str(error.reason)


def _retry_after(error: urllib.error.HTTPError) -> float:
    try:
        return float(error.headers.get("retry-after", "0"))
    except ValueError:  # a date
        return 0.0

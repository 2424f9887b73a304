from __future__ import annotations

import json
import socket
import time
from itertools import chain, repeat
from typing import Any

import pytest

from promethios.data.chat_endpoint import ATTEMPTS, ChatEndpoint
from promethios.errors import DatasetError

HELLO = [{"role": "user", "content": "Hello"}]


def endpoint(url: str, **settings: Any) -> ChatEndpoint:
    return ChatEndpoint(url, "some-model", **{"first_pause_s": 0.001, **settings})


@pytest.mark.parametrize("end", ["", "/", "/chat/completions"])
def test_a_conversation_is_sent_and_the_reply_comes_back(chat_server: Any, end: str) -> None:
    chat_server.reply = lambda messages: (200, f"You said {messages[0]['content']}.")
    assert endpoint(chat_server.url + end).ask(HELLO) == "You said Hello."
    assert chat_server.paths == ["/v1/chat/completions"]
    assert chat_server.requests == [{"model": "some-model", "messages": HELLO}]


@pytest.mark.parametrize(("key", "sent"), [(None, None), ("secret", "Bearer secret")])
def test_a_key_is_sent_only_when_there_is_one(chat_server: Any, key: str | None, sent: str | None) -> None:
    endpoint(chat_server.url, key=key).ask(HELLO)
    assert chat_server.keys == [sent]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(chat_server: Any, status: int) -> None:
    answers = chain(repeat((status, b"busy"), ATTEMPTS - 1), repeat((200, "At last.")))
    chat_server.reply = lambda messages: next(answers)
    assert endpoint(chat_server.url).ask(HELLO) == "At last."
    assert len(chat_server.requests) == ATTEMPTS


def test_a_lasting_failure_ends_with_what_the_server_said(chat_server: Any) -> None:
    chat_server.reply = lambda messages: (500, json.dumps({"error": {"message": "out of memory"}}).encode())
    with pytest.raises(
        DatasetError, match=r"'some-model': HTTP 500: out of memory \(5 attempts\); run the same command"
    ):
        endpoint(chat_server.url).ask(HELLO)
    assert len(chat_server.requests) == ATTEMPTS


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "--paraphrase_key_variable"),
        (403, "--paraphrase_key_variable"),
        (404, "/v1"),
        (400, "check URL and model"),
    ],
)
def test_a_refusal_is_told_at_once_with_what_to_do(chat_server: Any, status: int, advice: str) -> None:
    chat_server.reply = lambda messages: (status, b'{"error": "not like this"}')
    with pytest.raises(DatasetError, match=f"HTTP {status}: not like this; .*{advice}"):
        endpoint(chat_server.url).ask(HELLO)
    assert len(chat_server.requests) == 1


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"{}", b'{"choices": []}', b"[1]", b""])
def test_a_page_that_is_no_chat_completion_is_told_at_once(chat_server: Any, body: bytes) -> None:
    chat_server.reply = lambda messages: (200, body)
    with pytest.raises(DatasetError, match="which is no chat completion; the URL ends in /v1"):
        endpoint(chat_server.url).ask(HELLO)
    assert len(chat_server.requests) == 1


def test_a_server_that_does_not_answer_in_time_is_told(chat_server: Any) -> None:
    def slow(messages: object) -> tuple[int, str]:
        time.sleep(0.2)
        return 200, "too late"

    chat_server.reply = slow
    with pytest.raises(DatasetError, match=r"no answer within 0\.05 s"):
        endpoint(chat_server.url, timeout_s=0.05).ask(HELLO)


def test_a_port_where_nobody_listens_is_told() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(DatasetError, match=rf"{url}.*it cannot be reached: .*refused"):
        endpoint(url).ask(HELLO)


def test_the_server_says_how_long_to_wait(chat_server: Any) -> None:
    answers = iter([(429, b"slow down"), (200, "Now.")])
    chat_server.reply = lambda messages: next(answers)
    chat_server.reply_headers = {"retry-after": "0.2"}
    started = time.monotonic()
    assert endpoint(chat_server.url).ask(HELLO) == "Now."
    assert time.monotonic() - started > 0.2


@pytest.mark.parametrize("url", ["localhost:8000/v1", "file:///etc/passwd", ""])
def test_only_web_addresses_are_asked(url: str) -> None:
    with pytest.raises(DatasetError, match="must start with http:// or https://"):
        endpoint(url)

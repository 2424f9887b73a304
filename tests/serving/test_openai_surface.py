"""What we claim of OpenAI's and Anthropic's interfaces, with their own clients against a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serving.conftest import TELEMETRY_KEY

pytestmark = pytest.mark.integration

MODEL = "promethios"
MESSAGES: Any = [{"role": "user", "content": "What dose is safe?"}]
GOVERNANCE = {"governance": {"domain": "healthcare", "telemetry": {"trust": 0.9, "verify": 0.9}}}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "find_dose",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"unit": {"type": "string", "enum": ["mg", "ml"]}},
            "required": ["unit"],
            "additionalProperties": False,
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"safe": {"type": "boolean"}},
    "required": ["safe"],
    "additionalProperties": False,
}
FINISHING: Any = {"max_tokens": 200, "frequency_penalty": 2.0, "temperature": 0}
"""Keeps a random model from white space without end."""


@pytest.fixture(scope="session")
def openai_client(server: Any) -> Any:
    import openai

    headers = {"x-promethios-telemetry-key": TELEMETRY_KEY}
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", default_headers=headers, max_retries=0)


@pytest.fixture(scope="session")
def anthropic_client(server: Any) -> Any:
    import anthropic

    headers = {"x-promethios-telemetry-key": TELEMETRY_KEY}
    return anthropic.Anthropic(base_url=server.url, api_key="none", default_headers=headers, max_retries=0)


def field(answer: Any) -> dict[str, Any]:
    governance: dict[str, Any] = answer.model_extra["governance"]
    return governance


def chat(client: Any, **more: Any) -> Any:
    request = {"model": MODEL, "messages": MESSAGES, "max_tokens": 6, "temperature": 0, "extra_body": GOVERNANCE}
    return client.chat.completions.create(**{**request, **more})


def test_chat_and_its_stream_say_the_same(openai_client: Any) -> None:
    whole = chat(openai_client)
    chunks = list(chat(openai_client, stream=True, stream_options={"include_usage": True}))
    streamed = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert streamed == whole.choices[0].message.content
    assert [chunk.usage for chunk in chunks if chunk.usage] == [whole.usage]
    assert field(chunks[-1])["decision"] == field(whole)["decision"]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "length"


def test_the_headers_of_a_response_name_the_decision(openai_client: Any) -> None:
    raw = openai_client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES, max_tokens=1)
    assert raw.headers["x-promethios-decision"] == field(raw.parse())["decision"]


def test_a_conversation_with_system_assistant_and_tool_messages(openai_client: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "find_dose", "arguments": '{"unit": "mg"}'}}
    messages = [
        {"role": "system", "content": "Be careful."},
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "500 mg"},
        {"role": "user", "content": [{"type": "text", "text": "And for a child?"}]},
    ]
    assert field(chat(openai_client, messages=messages, tools=[TOOL], tool_choice="none"))["decision"]


@pytest.mark.parametrize("choice", [{"type": "function", "function": {"name": "find_dose"}}, "required"])
def test_a_forced_tool_call_comes_in_its_standard_field(openai_client: Any, choice: Any) -> None:
    answer = chat(openai_client, tools=[TOOL], tool_choice=choice, **FINISHING)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "find_dose"
    assert json.loads(call.function.arguments)["unit"] in ("mg", "ml")
    assert field(answer)["decision"]


def test_a_forced_tool_call_is_streamed(openai_client: Any) -> None:
    choice = {"type": "function", "function": {"name": "find_dose"}}
    deltas = [
        part.function.arguments or ""
        for chunk in chat(openai_client, tools=[TOOL], tool_choice=choice, stream=True, **FINISHING)
        for one in chunk.choices
        for part in one.delta.tool_calls or ()
    ]
    assert json.loads("".join(deltas))["unit"] in ("mg", "ml")


def test_a_json_schema_is_followed(openai_client: Any) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    answer = chat(openai_client, response_format=schema, **FINISHING)
    assert isinstance(json.loads(answer.choices[0].message.content)["safe"], bool)


def test_log_probabilities(openai_client: Any) -> None:
    answer = chat(openai_client, logprobs=True, top_logprobs=5)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    assert all(len(token.top_logprobs) == 5 and token.logprob <= 0 for token in content)


def test_several_samples_share_a_decision(openai_client: Any) -> None:
    answer = chat(openai_client, n=3, temperature=1, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert field(answer)["decision"]


def test_a_stop_string_ends_the_answer(openai_client: Any) -> None:
    whole = chat(openai_client, max_tokens=40).choices[0].message.content
    stop = whole[len(whole) // 2 :][:2]
    cut = chat(openai_client, max_tokens=40, stop=[stop]).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.message.content == whole[: whole.index(stop)]


def test_a_seed_repeats_an_answer(openai_client: Any) -> None:
    first, second = (chat(openai_client, temperature=1, seed=7).choices[0].message.content for _ in range(2))
    assert first == second


def test_text_completions_and_their_stream(openai_client: Any) -> None:
    request: Any = {"model": MODEL, "prompt": "What dose", "max_tokens": 6, "temperature": 0, "extra_body": GOVERNANCE}
    whole = openai_client.completions.create(**request)
    chunks = list(openai_client.completions.create(**request, stream=True))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text
    assert field(whole)["decision"] == field(chunks[-1])["decision"]


def test_responses_and_their_stream(openai_client: Any) -> None:
    request: Any = {"model": MODEL, "input": "What dose is safe?", "max_output_tokens": 6, "temperature": 0}
    whole = openai_client.responses.create(**request, extra_body=GOVERNANCE)
    events = list(openai_client.responses.create(**request, stream=True, extra_body=GOVERNANCE))
    streamed = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert streamed == whole.output_text
    assert field(whole)["decision"] == field(events[-1].response)["decision"]


def test_a_response_follows_a_json_schema(openai_client: Any) -> None:
    form = {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}
    answer = openai_client.responses.create(
        model=MODEL, input="What dose is safe?", text={"format": form}, max_output_tokens=200, extra_body=GOVERNANCE
    )
    assert isinstance(json.loads(answer.output_text)["safe"], bool)
    assert field(answer)["decision"]


@pytest.mark.parametrize("choice", [{"type": "function", "name": "find_dose"}, "required"])
def test_a_response_with_a_forced_tool_call(openai_client: Any, choice: Any) -> None:
    tool = {"type": "function", **TOOL["function"]}
    request: Any = {"model": MODEL, "input": "What dose is safe?", "tools": [tool], "tool_choice": choice}
    answer = openai_client.responses.create(**request, max_output_tokens=200, extra_body=GOVERNANCE)
    (call,) = [item for item in answer.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)["unit"] in ("mg", "ml")) == ("find_dose", True)
    assert field(answer)["decision"]


def test_a_conversation_of_responses_with_a_tool_s_result(openai_client: Any) -> None:
    conversation = [
        {"role": "user", "content": [{"type": "input_text", "text": "What dose is safe?"}]},
        {"type": "function_call", "call_id": "call_1", "name": "find_dose", "arguments": '{"unit": "mg"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "500 mg"},
    ]
    answer = openai_client.responses.create(
        model=MODEL, instructions="Be careful.", input=conversation, max_output_tokens=6, extra_body=GOVERNANCE
    )
    assert field(answer)["decision"]


def test_a_refusal_is_the_client_s_own_exception(openai_client: Any) -> None:
    import openai

    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refusal:
            chat(openai_client, stream=stream, extra_body={"governance": {"domain": "nowhere"}})
        assert refusal.value.code == "bad_domain"
    with pytest.raises(openai.NotFoundError) as closed:
        openai_client.embeddings.create(model=MODEL, input="x")
    assert closed.value.code == "closed_route"


def test_the_models_are_listed(openai_client: Any) -> None:
    assert [model.id for model in openai_client.models.list()] == [MODEL]


def test_anthropic_messages_and_their_stream(anthropic_client: Any) -> None:
    request: Any = {"model": MODEL, "messages": MESSAGES, "system": "Be careful.", "max_tokens": 6}
    extra = {"temperature": 0, **GOVERNANCE}
    whole = anthropic_client.messages.create(**request, extra_body=extra)
    with anthropic_client.messages.stream(**request, extra_body=extra) as stream:
        streamed = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert streamed == whole.content[0].text
    assert field(whole)["domain"] == "healthcare"
    assert field(final)["decision"] == field(whole)["decision"]
    assert final.usage.output_tokens == whole.usage.output_tokens == 6


def test_an_anthropic_tool_call_and_its_result(anthropic_client: Any) -> None:
    function = TOOL["function"]
    tool: Any = {"name": function["name"], "input_schema": function["parameters"], "strict": True}
    request: Any = {"model": MODEL, "tools": [tool], "max_tokens": 200, "extra_body": GOVERNANCE}
    choice: Any = {"type": "tool", "name": function["name"]}
    answer = anthropic_client.messages.create(messages=MESSAGES, tool_choice=choice, **request)
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert (call.name, call.input["unit"] in ("mg", "ml")) == (function["name"], True)
    result: Any = [{"type": "tool_result", "tool_use_id": call.id, "content": "500 mg"}]
    messages = [*MESSAGES, {"role": "assistant", "content": answer.content}, {"role": "user", "content": result}]
    none: Any = {"type": "none"}
    answer = anthropic_client.messages.create(messages=messages, tool_choice=none, **{**request, "max_tokens": 6})
    assert field(answer)["decision"]


def test_an_anthropic_refusal_leaves_no_traceback_in_the_log(anthropic_client: Any, server: Any) -> None:
    import anthropic

    def counted(text: str) -> int:
        message = {"role": "user", "content": text}
        tokens: int = anthropic_client.messages.count_tokens(model=MODEL, messages=[message]).input_tokens
        return tokens

    fixed, per_word = counted(""), counted("safe " * 2) - counted("safe ")
    words = {"wrapper": (500 - fixed) // per_word, "vllm": 1000}  # no room for the header; none for the prompt
    before = server.log.read_text(encoding="utf-8").count("Traceback")
    for number in words.values():
        for stream in (False, True):
            messages: Any = [{"role": "user", "content": "safe " * number}]
            with pytest.raises(anthropic.BadRequestError) as refusal:
                anthropic_client.messages.create(model=MODEL, messages=messages, max_tokens=1, stream=stream)
            assert "context length" in refusal.value.message
    assert server.log.read_text(encoding="utf-8").count("Traceback") == before


def test_anthropic_tokens_are_counted_without_the_header(anthropic_client: Any) -> None:
    counted = anthropic_client.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens
    answer = anthropic_client.messages.create(model=MODEL, messages=MESSAGES, max_tokens=1)
    assert answer.usage.input_tokens == counted

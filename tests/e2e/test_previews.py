"""`enable_preview_features`: what docs/previews.md lists, and that none of it is there without."""

import json

import pytest

import canned
from gateway import KEY, config, entry, said, says, streamed
from mock import Answer, Call

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
ON = {"enable_preview_features": True}


def azure(connection, request):
    """Azure's o1: whole answers only."""
    body = json.loads(request.body)
    if "stream" in body or "stream_options" in body:
        text = "Unsupported value: 'stream' does not support true with this model. Supported values are: false."
        return Answer(400, canned.error(text, param="stream", code="unsupported_value")).play(connection, request)
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    made = canned.chat(None, model="o1", tool_calls=[call]) if body.get("tools") else canned.chat(model="o1")
    return Answer(body=made, headers={"x-request-id": "of-azure"}).play(connection, request)


@pytest.fixture
def start(gateway, upstream):
    def made(litellm):
        upstream.answer(Call(azure))
        price = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.002}
        return gateway(config(entry("o1", upstream.url, model="azure/o1", **price),
                              entry("named", upstream.url, model="azure/ours", base_model="azure/o1-preview", **price),
                              entry("o3", upstream.url, model="azure/o3", **price),
                              entry("openai", upstream), litellm=litellm, general={"master_key": KEY}))

    return made


@pytest.mark.parametrize("model", ["o1", "named"])
def test_enable_preview_features(start, upstream, model):
    server = start(ON)
    answer = server.chat(model, key=KEY, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["llm_provider-x-request-id"] == "of-azure"
    events = streamed(answer)
    assert said(events) == "Hello there!" and events[-1] == "[DONE]"
    assert {event["object"] for event in events[:-1]} == {"chat.completion.chunk"}
    assert [c.get("finish_reason") for e in events[:-1] for c in e["choices"]] == [None, "stop"]
    assert not any(event.get("usage") for event in events[:-1]), "nobody asked for usage"
    assert "stream" not in upstream.last.json
    *_, last, _ = streamed(server.chat(model, key=KEY, stream=True, stream_options={"include_usage": True}))
    assert last["usage"]["total_tokens"] == 18
    # A whole answer is no stream.
    assert server.chat(model, key=KEY).json()["choices"][0]["message"]["content"] == "Hello there!"


def test_enable_preview_features_in_every_format(start):
    server = start(ON)
    events = streamed(server.chat("o1", key=KEY, stream=True, tools=[TOOL]))
    calls = [call for e in events[:-1] for c in e["choices"] for call in c["delta"].get("tool_calls") or []]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "weather")]
    message = server.post("/v1/messages", {"model": "o1", "max_tokens": 9, "stream": True, "messages": HELLO}, key=KEY)
    kinds = [event["type"] for event in streamed(message)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert "".join(e["delta"].get("text", "") for e in streamed(message) if e["type"] == "content_block_delta") == "Hello there!"
    google = server.post("/v1beta/models/o1:streamGenerateContent?alt=sse",
                         {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}, key=KEY)
    parts = [p["text"] for e in streamed(google) for p in e["candidates"][0]["content"]["parts"] if "text" in p]
    assert "".join(parts) == "Hello there!"
    text = server.post("/v1/completions", {"model": "o1", "prompt": "hello", "stream": True}, key=KEY)
    assert "".join(e["choices"][0]["text"] for e in streamed(text) if e != "[DONE]" and e["choices"]) == "Hello there!"


def test_enable_preview_features_is_off_by_default(start, upstream):
    server = start({})
    says(server.chat("o1", key=KEY, stream=True), 400, "'stream' does not support true")
    metadata = {"app": "x", "tags": ["t"]}
    upstream.reset()
    assert server.chat("openai", key=KEY, metadata=metadata).status_code == 200
    assert "metadata" not in upstream.last.json


def test_enable_preview_features_leaves_other_models_alone(start, upstream):
    server = start(ON)
    upstream.reset()
    assert said(streamed(server.chat("o3", key=KEY, stream=True))) == "Hello there!"
    assert upstream.last.json["stream"] is True


def test_enable_preview_features_metadata(start, upstream):
    server = start(ON)
    upstream.reset()
    many = {f"k{n}": "v" for n in range(30)}
    for given, sent in (({"app": "x", "tags": ["t"], "n": 1, "hidden_params": "h"}, {"app": "x"}),
                        ({"tags": ["t"]}, None), (many, dict(list(many.items())[:16])), ({}, None)):
        assert server.chat("openai", key=KEY, metadata=given).status_code == 200
        assert upstream.last.json.get("metadata") == sent
    assert server.chat("openai", key=KEY).status_code == 200 and "metadata" not in upstream.last.json
    upstream.answer(Call(azure))
    assert server.chat("o1", key=KEY, metadata={"app": "x"}).status_code == 200
    assert "metadata" not in upstream.last.json, "Azure has no such field"

"""OpenAI's own Node client against the gateway, the same scenarios as the Python one."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import canned
from gateway import KEY, config, entry
from mock import Answer, Hang, Stream

SCRIPT = Path(__file__).parent / "node" / "scenarios.mjs"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None, reason="node is missing; type: apt-get install nodejs npm")


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    names = ["gpt", "embed", "image", "voice", "ears", "judge"]
    entries = [entry(name, shared_upstream, model=f"openai/upstream-{name}") for name in names]
    return shared_gateway(config(*entries, general={"master_key": KEY}))


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


@pytest.fixture
def node(server):
    def run(scenario):
        done = subprocess.run(
            ["node", str(SCRIPT), scenario, server.base_url, KEY], capture_output=True, text=True, timeout=60,
            env={"PATH": os.environ["PATH"], "SHARDGATE_NODE": os.environ["SHARDGATE_NODE"]})
        assert done.stdout, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def ok(result):
    assert "ok" in result, result
    return result["ok"]


def test_chat(node, upstream):
    seen = ok(node("chat"))
    assert seen["text"] == "Hello there!" and seen["model"] == "gpt" and seen["id"]


def test_concurrent(node, upstream):
    assert ok(node("concurrent"))["texts"] == ["Hello there!"] * 20


def test_stream(node, upstream):
    seen = ok(node("stream"))
    assert seen["text"] == "Hello there!" and seen["models"] == ["gpt"]
    assert seen["usage"] is None and seen["finish"] == "stop"


def test_stream_usage(node, upstream):
    assert ok(node("stream_usage"))["usage"] == 18


def test_stream_helper(node, upstream):
    assert ok(node("stream_helper"))["text"] == "Hello there!"


def test_stream_abort(node, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x"] * 1000), gap_s=0.02))
    assert ok(node("stream_abort"))["aborted"]
    assert upstream.wait(1)[0].gone.wait(3)


def test_tools(node, upstream):
    calls = [{"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{\"a\": 1}"}}]
    upstream.answer(Answer(body=canned.chat(None, tool_calls=calls)))
    assert ok(node("tools"))["call"] == {"name": "weather", "arguments": "{\"a\": 1}"}


def test_tools_stream(node, upstream):
    parts = ['{"ci', 'ty":1}']
    events = [canned.event(canned.chunk({"tool_calls": [{"index": 0, "function": {"arguments": p}}]})) for p in parts]
    events += [canned.event(canned.chunk({}, finish="tool_calls")), canned.event("[DONE]")]
    upstream.answer(Stream(events))
    seen = ok(node("tools_stream"))
    assert seen["args"] == '{"city":1}' and seen["finish"] == "tool_calls"


@pytest.mark.parametrize("scenario,expected", [
    ("vision", {"text": "Hello there!"}),
    ("completions", {"text": " world"}),
    ("embeddings", {"vector": [0.1, -0.25, 0.5]}),
    ("images", {"image": "aGVsbG8="}),
    ("image_edit", {"image": "aGVsbG8="}),
    ("image_variation", {"image": "aGVsbG8="}),
    ("transcription", {"text": "hello from audio"}),
    ("translation", {"text": "hello from audio"}),
    ("speech", {"bytes": 3 + 4096 + 1024, "type": "audio/mpeg"}),
    ("moderations", {"flagged": False}),
    ("responses", {"text": "Hello there!"}),
    ("responses_stream", {"text": "Hello there!", "last": "response.completed"}),
])
def test_endpoint(node, upstream, scenario, expected):
    assert ok(node(scenario)) == expected
    assert len(upstream.requests) == 1


def test_models(node, upstream):
    assert ok(node("models"))["ids"] == ["ears", "embed", "gpt", "image", "judge", "voice"]


@pytest.mark.parametrize("status,name", [
    (400, "BadRequestError"), (401, "AuthenticationError"), (403, "PermissionDeniedError"), (404, "NotFoundError"),
    (409, "ConflictError"), (422, "UnprocessableEntityError"), (429, "RateLimitError"), (500, "InternalServerError"),
    (503, "InternalServerError"),
])
def test_error_class(node, upstream, status, name):
    upstream.answer(Answer(status, canned.error(f"upstream says {status}", type="some_error")))
    error = node("error")["error"]
    assert error["name"] == name and error["status"] == status and f"upstream says {status}" in error["message"]


def test_error_class_stream(node, upstream):
    upstream.answer(Answer(429, canned.error("slow down")))
    assert node("error_stream")["error"]["name"] == "RateLimitError"


def test_error_midway(node, upstream):
    upstream.answer(Stream(canned.chat_events()[:3] + [canned.event(canned.error("broken midway"))]))
    assert "broken midway" in node("error_stream")["error"]["message"]


def test_wrong_key(node, upstream):
    assert node("wrong_key")["error"]["name"] == "AuthenticationError"


def test_timeout(node, upstream):
    upstream.answer(Hang())
    assert node("timeout")["error"]["name"] == "APIConnectionTimeoutError"
    assert upstream.wait(1)[0].gone.wait(3)


def test_retries(node, upstream):
    upstream.answer(Answer(500, canned.error()), Answer(429, canned.error()), Answer(body=canned.chat()))
    assert ok(node("retries"))["text"] == "Hello there!"
    assert len(upstream.requests) == 3

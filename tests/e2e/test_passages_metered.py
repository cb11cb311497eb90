"""What requests that are passed on as they are used: read from each provider's own answers, whole and
streamed, and written down with their price; whose credential goes along (use_in_pass_through)."""

import base64
import hashlib
import json
import sqlite3
import time

import pytest

import wires
from gateway import KEY, config, entry
from mock import Answer, Stream

PROMPT, ANSWER = wires.TOKENS
USAGE = {"prompt_tokens": PROMPT, "completion_tokens": ANSWER, "total_tokens": PROMPT + ANSWER}
EVENTS = {"content-type": "text/event-stream"}
FRAMES = {"content-type": "application/vnd.amazon.eventstream"}


def person(upstream):
    return {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r",
            "token_uri": upstream.url + "/token"}


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    at = shared_upstream.url
    lends = {"use_in_pass_through": True}
    aws = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret-of-aws", "aws_region_name": "us-east-1"}
    return shared_gateway(config(
        entry("a", at, model="anthropic/claude-sonnet-4-5", api_key="sk-ant-lent", **lends),
        entry("o", at + "/v1", model="openai/gpt-4o", api_key="sk-openai-lent", **lends),
        entry("g", at, model="gemini/gemini-2.5-flash", api_key="AIzaLent", **lends),
        entry("v", at, model="vertex_ai/gemini-2.5-flash", api_key=None, vertex_project="p", vertex_location="us-central1",
              vertex_credentials=person(shared_upstream), **lends),
        entry("c", at, model="cohere_chat/command-r-plus", api_key="cohere-lent", **lends),
        entry("b", at, model="bedrock/anthropic.claude-3-haiku-20240307-v1:0", api_key=None, **aws, **lends),
        general={"master_key": KEY, "proxy_batch_write_at": 0.1}))


@pytest.fixture(autouse=True)
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


def sse(*events):
    return Stream([f"data: {json.dumps(event)}\n\n" for event in events], headers=EVENTS)


def claude(stream):
    return wires.anthropic({"model": "claude-sonnet-4-5", "stream": stream, "messages": [{"content": "x"}]})


def wrapped(event):
    """An event of a model that Bedrock invokes."""
    return wires.frame("chunk", {"bytes": base64.b64encode(json.dumps(event).encode()).decode()})


GEMINI = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}], "modelVersion": "gemini-2.5-flash", "usageMetadata": {
    "promptTokenCount": PROMPT, "candidatesTokenCount": ANSWER, "totalTokenCount": PROMPT + ANSWER}}
COHERE = {"tokens": {"input_tokens": PROMPT, "output_tokens": ANSWER}}
CONVERSE = {"messages": [{"content": [{"text": "x"}]}]}
HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
# Dollars for a million tokens of the prompt and of the answer.
SONNET_PRICE, GPT_PRICE, FLASH_PRICE, COMMAND_PRICE, HAIKU_PRICE = (3, 15), (2.5, 10), (0.3, 2.5), (2.5, 10), (1, 5)

CASES = {
    "anthropic": ("/anthropic/v1/messages", {"model": "claude-sonnet-4-5"}, lambda: claude(False), SONNET_PRICE),
    "anthropic stream": ("/anthropic/v1/messages", {"model": "claude-sonnet-4-5", "stream": True}, lambda: claude(True),
                         SONNET_PRICE),
    "openai": ("/openai_passthrough/v1/chat/completions", {"model": "gpt-4o"}, lambda: Answer(body={
        "id": "x", "model": "gpt-4o", "usage": USAGE}), GPT_PRICE),
    "openai stream": ("/openai_passthrough/v1/chat/completions", {"model": "gpt-4o", "stream": True}, lambda: sse(
        {"id": "x", "choices": []}, {"id": "x", "model": "gpt-4o", "choices": [], "usage": USAGE}), GPT_PRICE),
    "openai responses stream": ("/openai_passthrough/v1/responses", {"model": "gpt-4o", "stream": True}, lambda: sse(
        {"type": "response.completed", "response": {"id": "r", "model": "gpt-4o", "usage": {
            "input_tokens": PROMPT, "output_tokens": ANSWER, "total_tokens": PROMPT + ANSWER}}}), GPT_PRICE),
    "gemini": ("/gemini/v1beta/models/gemini-2.5-flash:generateContent", {}, lambda: Answer(body=GEMINI), FLASH_PRICE),
    "gemini stream": ("/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", {}, lambda: sse(
        {"candidates": []}, GEMINI), FLASH_PRICE),
    "gemini array": ("/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent", {}, lambda: Answer(
        body=[{"candidates": []}, GEMINI]), FLASH_PRICE),
    "vertex_ai": ("/vertex_ai/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent",
                  {}, lambda: Answer(body=GEMINI), FLASH_PRICE),
    "vertex_ai stream": (
        "/vertex_ai/v1/projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        {}, lambda: sse(GEMINI), FLASH_PRICE),
    "cohere": ("/cohere/v2/chat", {"model": "command-r-plus-08-2024"}, lambda: Answer(body={"id": "c", "usage": COHERE}), COMMAND_PRICE),
    "cohere stream": ("/cohere/v2/chat", {"model": "command-r-plus-08-2024", "stream": True}, lambda: sse(
        {"type": "message-start", "id": "c"}, {"type": "message-end", "delta": {"usage": COHERE}}), COMMAND_PRICE),
    "bedrock": (f"/bedrock/model/{HAIKU}/converse", {}, lambda: wires.bedrock(CONVERSE, stream=False), HAIKU_PRICE),
    "bedrock stream": (f"/bedrock/model/{HAIKU}/converse-stream", {}, lambda: wires.bedrock(CONVERSE, stream=True), HAIKU_PRICE),
    "bedrock invoke": (f"/bedrock/model/{HAIKU}/invoke", {}, lambda: Answer(body={
        "id": "m", "usage": {"input_tokens": PROMPT, "output_tokens": ANSWER}}), HAIKU_PRICE),
    "bedrock invoke stream": (f"/bedrock/model/{HAIKU}/invoke-with-response-stream", {}, lambda: Stream([
        wrapped({"type": "message_start", "message": {"usage": {"input_tokens": PROMPT, "output_tokens": 1}}}),
        wrapped({"type": "message_delta", "usage": {"output_tokens": ANSWER}})], headers=FRAMES), HAIKU_PRICE),
}


def row(server, key, seconds=10):
    """The one row that a key's call left."""
    hashed, until = hashlib.sha256(key.encode()).hexdigest(), time.monotonic() + seconds
    while True:
        with sqlite3.connect(server.folder / "shardgate.db") as database:
            rows = database.execute(
                'select custom_llm_provider, prompt_tokens, completion_tokens, spend, call_type, model from "LiteLLM_SpendLogs"'
                " where api_key = ?", (hashed,)).fetchall()
        if rows or time.monotonic() > until:
            assert len(rows) == 1, rows
            return rows[0]
        time.sleep(0.05)


@pytest.mark.parametrize("name", CASES)
def test_what_was_used_is_written_down(server, upstream, name):
    path, body, answer, (prompt_price, answer_price) = CASES[name]
    upstream.answer(answer())
    upstream.route("/token", Answer(body={"access_token": "fetched", "expires_in": 3600}))
    key = server.post("/key/generate", {}, key=KEY).json()["key"]
    got = server.post(path, body, key=key)
    assert got.status_code == 200, got.text
    provider, prompt, completion, spend, kind, _ = row(server, key)
    assert (provider, prompt, completion, kind) == (name.split()[0], PROMPT, ANSWER, "pass_through_endpoint")
    assert spend == pytest.approx((PROMPT * prompt_price + ANSWER * answer_price) / 1e6)


def test_frames_reach_the_client_as_they_are(server, upstream):
    made = wires.bedrock(CONVERSE, stream=True)
    upstream.answer(made)
    got = server.post(f"/bedrock/model/{HAIKU}/converse-stream", {}, key=KEY)
    assert got.content == b"".join(made.frames) and got.headers["content-type"] == FRAMES["content-type"]


def test_use_in_pass_through(server, upstream, gateway):
    upstream.answer(Answer(body={"fine": True}))
    upstream.route("/token", Answer(body={"access_token": "fetched", "expires_in": 3600}))
    for path, header, value in [
        ("/anthropic/v1/models", "x-api-key", "sk-ant-lent"), ("/openai/v1/models", "authorization", "Bearer sk-openai-lent"),
        ("/cohere/v2/models", "authorization", "Bearer cohere-lent"), ("/vertex_ai/v1/x", "authorization", "Bearer fetched"),
    ]:
        assert server.post(path, {}, key=KEY).status_code == 200
        assert upstream.last.header(header) == value
    assert server.post("/gemini/v1beta/x", {}, key=KEY).status_code == 200 and upstream.last.query == {"key": "AIzaLent"}
    assert server.post("/bedrock/model/x/converse", {}, key=KEY).status_code == 200
    assert "Credential=AKIDEXAMPLE/" in upstream.last.header("authorization")
    other = gateway(config(
        entry("a", upstream.url, model="anthropic/claude-sonnet-4-5", api_key="sk-ant-kept"), general={"master_key": KEY}))
    refused = other.post("/anthropic/v1/models", {}, key=KEY)
    assert refused.status_code == 400 and "use_in_pass_through" in refused.text and "sk-ant-kept" not in refused.text

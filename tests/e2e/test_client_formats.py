"""Clients of other APIs than OpenAI's, raw: Google's generateContent and Anthropic's messages in front
of three wires each, what they read of errors, and how tokens are counted for them."""

import json

import pytest

import canned
import wires
from gateway import KEY, config, streamed
from mock import Answer, Stream

ASK = {"contents": [{"role": "user", "parts": [{"text": "hello world"}]}]}
MESSAGE = {"max_tokens": 50, "messages": [{"role": "user", "content": "hello world"}]}
TOOL = {"name": "weather", "description": "The weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    return shared_gateway(config(*wires.entries(shared_upstream), general={"master_key": KEY}))


@pytest.fixture(autouse=True)
def upstream(shared_upstream):
    shared_upstream.reset()
    wires.arm(shared_upstream)
    return shared_upstream


def google(server, model, verb, body=ASK, query="", key=KEY):
    headers = {"x-goog-api-key": key} if key else {}
    return server.post(f"/v1beta/models/{model}:{verb}{query}", body, headers=headers)


def text_of(answer):
    return "".join(p.get("text", "") for p in answer["candidates"][0]["content"]["parts"])


# Google's API

@pytest.mark.parametrize("model", wires.MODELS)
def test_generate_content(server, model):
    answer = google(server, model, "generateContent")
    assert answer.status_code == 200, answer.text
    assert text_of(answer.json()) == wires.TEXT
    usage = answer.json()["usageMetadata"]
    assert (usage["promptTokenCount"], usage["candidatesTokenCount"]) == wires.TOKENS
    assert answer.json()["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize("model", wires.MODELS)
def test_generate_content_stream_of_events(server, model):
    answer = google(server, model, "streamGenerateContent", query="?alt=sse")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "".join(text_of(event) for event in streamed(answer)) == wires.TEXT
    assert "[DONE]" not in answer.text
    assert streamed(answer)[-1]["usageMetadata"]["totalTokenCount"] == sum(wires.TOKENS)


@pytest.mark.parametrize("model", wires.MODELS)
def test_generate_content_stream_as_one_array(server, model):
    answer = google(server, model, "streamGenerateContent")
    assert answer.headers["content-type"].startswith("application/json")
    assert "".join(text_of(event) for event in answer.json()) == wires.TEXT


@pytest.mark.parametrize("model", wires.MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_generate_content_tools(server, model, stream):
    body = {**ASK, "tools": [{"functionDeclarations": [TOOL]}]}
    verb, query = ("streamGenerateContent", "?alt=sse") if stream else ("generateContent", "")
    answer = google(server, model, verb, body, query)
    whole = streamed(answer) if stream else [answer.json()]
    parts = [p for event in whole for p in event["candidates"][0]["content"]["parts"]]
    calls = [p["functionCall"] for p in parts if "functionCall" in p]
    assert [(call["name"], call["args"]) for call in calls] == [("weather", wires.ARGUMENTS)]


def test_generate_content_without_the_version_and_with_the_key_in_the_query(server, upstream):
    answer = server.client.post(f"/models/openai:generateContent?key={KEY}", json=ASK)
    assert text_of(answer.json()) == wires.TEXT
    assert upstream.only.query == {} and KEY not in json.dumps(upstream.only.headers)
    assert KEY not in server.log


def test_the_body_does_not_decide_what_the_url_says(server, upstream):
    answer = google(server, "openai", "generateContent", {**ASK, "model": "other", "stream": True})
    assert text_of(answer.json()) == wires.TEXT and not upstream.only.json.get("stream")
    answer = google(server, "openai", "streamGenerateContent", {**ASK, "stream": False}, "?alt=sse")
    assert len(streamed(answer)) > 1


@pytest.mark.parametrize("status,name", [
    (400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"), (404, "NOT_FOUND"), (429, "RESOURCE_EXHAUSTED"),
    (503, "UNAVAILABLE"),
])
def test_google_errors(server, upstream, status, name):
    upstream.answer(Answer(status, canned.error("upstream says no")))
    answer = google(server, "openai", "generateContent")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (status, status, name)
    assert "upstream says no" in error["message"]


def test_google_errors_of_our_own(server):
    assert google(server, "openai", "generateContent", key="sk-wrong").json()["error"]["status"] == "UNAUTHENTICATED"
    assert google(server, "openai", "generateContent", key=None).json()["error"]["status"] == "UNAUTHENTICATED"
    assert google(server, "nobody", "generateContent").json()["error"]["status"] == "INVALID_ARGUMENT"
    assert google(server, "openai", "generateContent", body=[1]).json()["error"]["status"] == "INVALID_ARGUMENT"
    assert server.client.get("/v1beta/models/openai:generateContent").status_code == 405


def test_a_google_stream_that_breaks_says_so(server, upstream):
    cut = canned.chat_events()[:4]
    upstream.answer(Stream(cut, ending="cut"))
    answer = google(server, "openai", "streamGenerateContent", query="?alt=sse")
    assert "error" in streamed(answer)[-1] and streamed(answer)[-1]["error"]["code"] == 500
    answer = google(server, "openai", "streamGenerateContent")
    assert "error" in answer.json()[-1]


# Counting

@pytest.mark.parametrize("model,expected", [("openai", 2), ("anthropic", 2), ("gemini", 43)])
def test_google_count_tokens(server, upstream, model, expected):
    answer = google(server, model, "countTokens")
    assert answer.status_code == 200 and answer.json()["totalTokens"] == expected
    assert [r.path for r in upstream.requests] == (
        ["/v1beta/models/gemini-2.5-flash:countTokens"] if model == "gemini" else [])


@pytest.mark.parametrize("model,expected", [("openai", 9), ("anthropic", 42), ("gemini", 9)])
def test_messages_count_tokens(server, upstream, model, expected):
    body = {"model": model, "messages": MESSAGE["messages"]}
    answer = server.post("/v1/messages/count_tokens", body, headers={"x-api-key": KEY})
    assert answer.json() == {"input_tokens": expected}
    assert [r.path for r in upstream.requests] == (["/v1/messages/count_tokens"] if model == "anthropic" else [])
    if model == "anthropic":
        assert upstream.only.json == {"model": "claude-sonnet-4-5", "messages": MESSAGE["messages"]}


# Anthropic's API

def test_anthropic_headers_go_on(server, upstream):
    headers = {"x-api-key": KEY, "anthropic-version": "2023-01-01", "anthropic-beta": "a-2025,b-2025"}
    answer = server.post("/v1/messages", {"model": "anthropic", **MESSAGE}, headers=headers)
    assert answer.status_code == 200, answer.text
    sent = upstream.only
    assert sent.header("anthropic-version") == "2023-01-01"
    assert sent.header("anthropic-beta") == "a-2025,b-2025"
    assert sent.header("x-api-key") == "sk-upstream-key"
    server.post("/v1/messages", {"model": "openai", **MESSAGE}, headers=headers)
    assert upstream.last.header("anthropic-beta") is None


@pytest.mark.parametrize("status,kind", [
    (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
    (404, "not_found_error"), (429, "rate_limit_error"), (500, "api_error"),
])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_anthropic_errors(server, upstream, status, kind, path):
    upstream.answer(Answer(status, {"type": "error", "error": {"type": kind, "message": "upstream says no"}}))
    answer = server.post(path, {"model": "anthropic", **MESSAGE}, headers={"x-api-key": KEY})
    assert answer.json()["type"] == "error" and answer.json()["error"]["type"] == kind
    assert "upstream says no" in answer.json()["error"]["message"]


def test_anthropic_errors_of_our_own(server):
    def kind(key=KEY, **body):
        answer = server.post("/v1/messages", {"model": "openai", **MESSAGE, **body}, headers={"x-api-key": key})
        assert answer.json()["type"] == "error"
        return answer.status_code, answer.json()["error"]["type"]

    assert kind("sk-wrong") == (401, "authentication_error")
    assert kind("wrong") == (401, "authentication_error")
    assert kind(model="nobody") == (400, "invalid_request_error")
    assert kind(messages=None) == (400, "invalid_request_error")

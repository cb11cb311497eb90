"""What clients read besides the body: headers, error bodies, and that an upstream call ends with its
client."""

import json
import time

import pytest

import canned
from gateway import KEY, config, entry, request
from mock import Answer, Hang, Stream

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    return shared_gateway(config(entry("m", shared_upstream, info={"id": "the-id"}), entry("priced", shared_upstream,
        model="openai/gpt-4o-mini", input_cost_per_token=0.001, output_cost_per_token=0.002)))


@pytest.fixture(scope="module")
def locked(shared_upstream, shared_gateway):
    return shared_gateway(config(entry("m", shared_upstream), general={"master_key": KEY}))


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


# Headers

def test_headers_of_an_answer(server, upstream):
    headers = server.chat().headers
    assert len(headers["x-litellm-call-id"]) >= 16
    assert headers["x-litellm-model-id"] == "the-id" and headers["x-litellm-model-group"] == "m"
    assert headers["x-litellm-model-api-base"].rstrip("/") == upstream.url + "/v1"
    assert headers["x-litellm-version"]
    assert headers["x-litellm-attempted-retries"] == "0" and headers["x-litellm-attempted-fallbacks"] == "0"
    assert float(headers["x-litellm-response-duration-ms"]) >= 0 and float(headers["x-litellm-overhead-duration-ms"]) >= 0


def test_headers_of_a_stream(server, upstream):
    headers = server.chat(stream=True).headers
    assert headers["content-type"].split(";")[0] == "text/event-stream"
    assert headers["x-litellm-call-id"] and headers["x-litellm-model-id"] == "the-id"
    assert "content-length" not in headers


def test_call_id_of_the_client(server, upstream):
    assert server.chat(headers={"x-litellm-call-id": "my-own-id-1"}).headers["x-litellm-call-id"] == "my-own-id-1"


def test_call_id_cannot_inject(server, upstream):
    answer = server.chat(headers={"x-litellm-call-id": "a" * 5000})
    assert len(answer.headers.get("x-litellm-call-id", "")) < 5000 or answer.status_code == 400


def test_call_ids_differ(server, upstream):
    assert len({server.chat().headers["x-litellm-call-id"] for _ in range(20)}) == 20


def test_upstream_headers_are_copied_with_a_prefix(server, upstream):
    upstream.answer(Answer(body=canned.chat(), headers={
        "x-request-id": "req_1", "openai-processing-ms": "12", "x-ratelimit-remaining-requests": "99", "x-ratelimit-limit-tokens": "5"}))
    headers = server.chat().headers
    assert headers["llm_provider-x-request-id"] == "req_1" and headers["llm_provider-openai-processing-ms"] == "12"
    assert headers["x-ratelimit-remaining-requests"] == "99" and headers["x-ratelimit-limit-tokens"] == "5"
    assert "x-request-id" not in headers or headers["x-request-id"] != "req_1"


def test_upstream_cookies_are_not_passed_on(server, upstream):
    upstream.answer(Answer(body=canned.chat(), headers={"set-cookie": "a=b"}))
    assert "set-cookie" not in server.chat().headers


def test_credentials_in_api_base_are_not_shown(gateway, upstream):
    """They are refused at the start, without quoting them; or used, and never shown."""
    server = gateway(config(entry("m", f"http://user:canary@127.0.0.1:{upstream.port}/v1")), wait=False)
    until = time.monotonic() + 10
    while "started" not in server.log and server.process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    if server.process.poll() is None:
        answer = server.chat()
        assert "canary" not in str(answer.headers) + answer.text
    assert "canary" not in server.log and "api_base" in server.log


# Errors

CASES = [
    (400, "BadRequestError", "some_type"), (401, "AuthenticationError", "authentication_error"),
    (403, "APIError", "permission_error"), (404, "NotFoundError", "invalid_request_error"),
    (408, "Timeout", "invalid_request_error"), (413, "APIError", "invalid_request_error"),
    (422, "BadRequestError", "some_type"), (429, "RateLimitError", "throttling_error"),
    (500, "", "internal_server_error"), (502, "", "internal_server_error"), (503, "ServiceUnavailableError", "internal_server_error"),
]


@pytest.mark.parametrize("status,name,kind", CASES)
def test_error_body(server, upstream, status, name, kind):
    upstream.answer(Answer(status, canned.error("upstream words", type="some_type", param="p")))
    answer = server.chat()
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == str(status) and error["type"] == kind
    assert error["param"] == ("p" if status in (400, 422) else None), "400 and 422 keep the upstream's, as LiteLLM"
    assert error["message"].startswith(f"litellm.{name}") and "upstream words" in error["message"]
    assert error["message"].endswith("LiteLLM: model group 'm' failed with the error above. No fallback was attempted.")


@pytest.mark.parametrize("status,name,kind", CASES)
def test_error_body_of_a_stream(server, upstream, status, name, kind):
    upstream.answer(Answer(status, canned.error("upstream words", type="some_type")))
    answer = server.chat(stream=True)
    assert answer.status_code == status and answer.headers["content-type"].split(";")[0] == "application/json"
    assert answer.json()["error"]["type"] == kind


def test_error_context_window(server, upstream):
    upstream.answer(Answer(400, canned.error("This model's maximum context length is 10 tokens", code="context_length_exceeded")))
    assert "ContextWindowExceededError" in server.chat().json()["error"]["message"]


def test_error_content_policy(server, upstream):
    words = "The response was filtered due to the prompt triggering content_policy_violation"
    upstream.answer(Answer(400, canned.error(words, code="content_policy_violation")))
    error = server.chat().json()["error"]
    assert error["code"] == "400" and words in error["message"]


def test_error_has_a_call_id(server, upstream):
    upstream.answer(Answer(500, canned.error()))
    assert server.chat().headers["x-litellm-call-id"]


@pytest.mark.parametrize("body,kind", [(b"", "text/plain"), (b"plain words", "text/plain"), (b"<html></html>", "text/html"),
                                       (b"{broken", "application/json"), (b'"text"', "application/json"), (b"[]", "application/json"),
                                       (b'{"error":"a string"}', "application/json"), (b'{"detail":[{"msg":"x"}]}', "application/json")])
def test_error_body_that_is_none(server, upstream, body, kind):
    upstream.answer(Answer(400, body, {"content-type": kind}))
    answer = server.chat()
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "400"


def test_error_upstream_key_is_masked(server, upstream):
    upstream.answer(Answer(401, canned.error("Incorrect API key provided: sk-upstream-key. And sk-proj-abcdefghijklmnop1234567890ABCDEF")))
    text = server.chat().text
    assert "sk-proj-abcdefghijklmnop1234567890ABCDEF" not in text and "sk-upstream-key" not in text


def test_error_unknown_model(server, upstream):
    answer = server.chat("no-such-model")
    assert answer.status_code == 400 and "no-such-model" in json.dumps(answer.json()["error"]["message"])
    assert not upstream.requests


def test_error_no_key(locked, upstream):
    answer = locked.chat()
    assert answer.status_code == 401
    error = answer.json()["error"]
    assert error["type"] == "auth_error" and error["code"] == "401" and error["message"].startswith("Authentication Error, ")


def test_error_wrong_key(locked, upstream):
    answer = locked.chat(key="sk-wrong-canary-123456789")
    assert answer.status_code in (400, 401) and "sk-wrong-canary-123456789" not in answer.text
    assert not upstream.requests


def test_error_key_without_bearer(locked, upstream):
    assert locked.chat(headers={"authorization": KEY}).status_code == 401


def test_error_key_that_is_no_key(locked, upstream):
    answer = locked.chat(key="not-starting-with-sk")
    assert answer.status_code == 401 and "not-starting-with-sk" not in answer.text


# A client that goes

@pytest.mark.parametrize("stream", [False, True])
def test_client_gone_before_the_first_byte_cancels_upstream(server, upstream, stream):
    upstream.answer(Hang())
    with server.connect() as raw:
        raw.send(request({**BODY, "stream": stream}))
        upstream.wait(1)
        went = time.monotonic()
    got = upstream.only
    assert got.gone.wait(2), "the upstream call outlived its client"
    assert got.gone_at - went < 0.5


def test_client_gone_in_the_stream_cancels_upstream(server, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x"] * 1000), gap_s=0.05))
    with server.connect() as raw:
        raw.send(request({**BODY, "stream": True}))
        raw.until(b"data: ")
        went = time.monotonic()
    assert upstream.only.gone.wait(2) and upstream.only.gone_at - went < 0.5


def test_client_gone_while_the_upstream_is_silent(server, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x"] * 10), gap_s=30))
    with server.connect() as raw:
        raw.send(request({**BODY, "stream": True}))
        raw.until(b"data: ")
        went = time.monotonic()
    assert upstream.only.gone.wait(2) and upstream.only.gone_at - went < 0.5


def test_client_gone_during_backoff_ends_the_retries(gateway, upstream):
    upstream.answer(Answer(429, canned.error(), headers={"retry-after": "1"}))
    server = gateway(config(entry("m", upstream), router={"num_retries": 5}))
    with server.connect() as raw:
        raw.send(request(BODY))
        upstream.wait(1)
    time.sleep(2.5)
    assert len(upstream.requests) <= 2


def test_many_clients_gone(server, upstream):
    upstream.answer(Hang(20))
    connections = [server.connect() for _ in range(100)]
    for raw in connections:
        raw.send(request(BODY))
    upstream.wait(100)
    for raw in connections:
        raw.close()
    assert all(got.gone.wait(5) for got in upstream.requests)
    upstream.answer(Answer(body=canned.chat()))
    assert server.chat().status_code == 200


def test_cost_header(server, upstream):
    headers = server.chat("priced").headers
    assert abs(float(headers["x-litellm-response-cost"]) - (11 * 0.001 + 7 * 0.002)) < 1e-9

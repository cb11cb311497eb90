"""Replicate's predictions: looked at until they are done, streamed as they grow, ended when their client
has left."""

import json
import time

import httpx
import pytest

from gateway import KEY, config, entry
from mock import Answer, Call

METRICS = {"input_token_count": 3, "output_token_count": 2}


@pytest.fixture
def server(gateway, upstream):
    return gateway(config(
        entry("m", upstream, model="replicate/acme/small", api_key="r8-key"), general={"master_key": KEY}))


def prediction(status, *output, **more):
    return Answer(201 if status == "starting" else 200, {"id": "p1", "status": status, "output": list(output) or None, **more})


def grows(upstream, *looks):
    """The prediction as each look sees it; the last one repeats."""
    seen = []

    def look(connection, request):
        at = min(len(seen), len(looks) - 1)
        seen.append(time.monotonic())
        return looks[at].play(connection, request)

    upstream.route("/v1/models/acme/small/predictions", prediction("starting"))
    upstream.route("/v1/predictions/p1", Call(look))
    upstream.route("/v1/predictions/p1/cancel", Answer(body={"id": "p1", "status": "canceled"}))
    return seen


def ask(stream):
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream,
            **({"stream_options": {"include_usage": True}} if stream else {})}


def cancelled(upstream, seconds=5):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(r.path == "/v1/predictions/p1/cancel" and r.method == "POST" for r in upstream.requests):
            return True
        time.sleep(0.02)
    return False


def test_a_whole_answer(server, upstream):
    grows(upstream, prediction("processing"), prediction("succeeded", "Hel", "lo", metrics=METRICS))
    answer = server.post("/v1/chat/completions", ask(False), key=KEY).json()
    assert answer["choices"][0]["message"]["content"] == "Hello" and answer["usage"]["total_tokens"] == 5
    assert not cancelled(upstream, 0.3)


def test_a_stream_comes_as_it_grows(server, upstream):
    looks = [prediction("processing", *"abcdef"[:count]) for count in range(1, 5)]
    seen = grows(upstream, *looks, prediction("succeeded", *"abcdef", metrics=METRICS))
    pieces, came = [], []
    with server.client.stream("POST", "/v1/chat/completions", json=ask(True),
                              headers={"authorization": f"Bearer {KEY}"}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line[6:])
                pieces += [c["delta"]["content"] for c in chunk["choices"] if c.get("delta", {}).get("content")]
                came.append((time.monotonic(), chunk))
    assert "".join(pieces) == "abcdef" and len(pieces) >= 4
    # The first piece was there before the last look was made.
    assert came[0][0] < seen[-1]
    assert came[-1][1]["usage"]["total_tokens"] == 5 and not cancelled(upstream, 0.3)
    assert all(r.header("authorization") == "Token r8-key" for r in upstream.requests)


def test_a_failure_midway(server, upstream):
    grows(upstream, prediction("processing", "a"), prediction("failed", error="out of memory"))
    text = server.post("/v1/chat/completions", ask(True), key=KEY).text
    assert '"a"' in text and "out of memory" in text and "finish_reason" not in text


def test_a_failure_at_once_is_an_error(server, upstream):
    grows(upstream, prediction("failed", error="out of memory"))
    answer = server.post("/v1/chat/completions", ask(True), key=KEY)
    assert answer.status_code == 422 and "out of memory" in answer.json()["error"]["message"]


@pytest.mark.parametrize("output", [[], ["a"]])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_prediction(server, upstream, stream, output):
    grows(upstream, prediction("processing", *output))
    with pytest.raises(httpx.ReadTimeout):
        server.client.post("/v1/chat/completions", json=ask(stream), headers={"authorization": f"Bearer {KEY}"}, timeout=0.6)
    assert cancelled(upstream)
    looks = len(upstream.requests)
    time.sleep(1.5)
    assert len(upstream.requests) == looks


def test_a_deadline_ends_the_prediction(server, upstream):
    grows(upstream, prediction("processing"))
    answer = server.post("/v1/chat/completions", {**ask(False), "timeout": 0.5}, key=KEY)
    assert answer.status_code == 408 and cancelled(upstream)

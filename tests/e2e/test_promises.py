"""Answers that are promises (Replicate's predictions): looked at until they are kept, broken or nobody waits any more."""

import time

import httpx
import pytest

from gateway import config, streamed
from mock import Answer, Call

PATH = "/v1/models/acme/small/predictions"
LOOK = "/v1/predictions/p1"


def prediction(status, *output, **more):
    return {"id": "p1", "status": status, "output": list(output) or None,
            "urls": {"get": "http://elsewhere.example/steal"}, **more}


def serve(gateway, upstream):
    return gateway(config({"model_name": "m", "litellm_params": {
        "model": "replicate/acme/small", "api_base": upstream.url + "/v1", "api_key": "r8"}}))


def test_a_prediction_is_looked_at_until_it_is_done(gateway, upstream):
    upstream.route(PATH, Answer(201, prediction("starting")))
    looks = iter([prediction("processing", "a"), prediction("processing", "a", "b")])
    done = prediction("succeeded", "a", "b", "c", metrics={"input_token_count": 2, "output_token_count": 3})
    upstream.route(LOOK, Call(lambda connection, request: Answer(body=next(looks, done)).play(connection, request)))
    answer = serve(gateway, upstream).chat()
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "abc"
    assert answer.json()["usage"]["total_tokens"] == 5
    assert [(r.method, r.path) for r in upstream.requests] == [("POST", PATH)] + [("GET", LOOK)] * 3
    assert {r.header("authorization") for r in upstream.requests} == {"Token r8"}


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_broken_promise_is_an_error(gateway, upstream, status):
    upstream.route(PATH, Answer(201, prediction("starting")))
    upstream.route(LOOK, Answer(body=prediction(status, error="out of memory")))
    answer = serve(gateway, upstream).chat()
    assert answer.status_code == 422 and "out of memory" in answer.json()["error"]["message"]


def test_a_look_that_fails_is_an_error(gateway, upstream):
    upstream.route(PATH, Answer(201, prediction("starting")))
    upstream.route(LOOK, Answer(500, {"detail": "down"}))
    assert serve(gateway, upstream).chat().status_code == 500


def test_a_client_that_leaves_ends_the_looking(gateway, upstream):
    upstream.route(PATH, Answer(201, prediction("starting")))
    upstream.route(LOOK, Answer(body=prediction("processing")))
    server = serve(gateway, upstream)
    with pytest.raises(httpx.ReadTimeout):
        server.post("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}, timeout=0.7)
    time.sleep(0.3)
    seen = len(upstream.requests)
    assert seen >= 3
    time.sleep(1.5)
    assert len(upstream.requests) <= seen + 1


def test_a_stream_tells_what_each_look_found(gateway, upstream):
    upstream.route(PATH, Answer(201, prediction("starting")))
    looks = iter([prediction("processing", "a")])
    upstream.route(LOOK, Call(lambda connection, request: Answer(body=next(looks, prediction("succeeded", "a", "b"))).play(connection, request)))
    answer = serve(gateway, upstream).chat(stream=True)
    *pieces, done = streamed(answer)
    assert done == "[DONE]"
    deltas = [piece["choices"][0]["delta"].get("content") for piece in pieces]
    assert [delta for delta in deltas if delta] == ["a", "b"]

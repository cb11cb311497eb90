"""The harness itself: the scripted upstream plays, records and notices a client that goes."""

import httpx
import pytest

from gateway import Raw, request
from mock import Answer, Hang, Stream
import canned
import socket


def test_answers_in_order_and_the_last_repeats(upstream):
    upstream.answer(Answer(503, {"a": 1}), Answer(200, {"b": 2}))
    seen = [httpx.post(upstream.url + "/x", json={"q": 1}).status_code for _ in range(3)]
    assert seen == [503, 200, 200]
    assert upstream.requests[0].json == {"q": 1}


def test_streams_event_by_event(upstream):
    upstream.answer(Stream(canned.chat_events(usage=True)))
    with httpx.stream("POST", upstream.url + "/x") as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]" and len(lines) == 8


def test_a_client_that_goes_is_noticed(upstream):
    upstream.answer(Hang())
    with Raw(socket.create_connection(("127.0.0.1", upstream.port))) as client:
        client.send(request({"a": 1}))
        upstream.wait(1)
    assert upstream.last.gone.wait(2)


@pytest.mark.parametrize("path", ["chat/completions", "embeddings", "responses", "models"])
def test_answers_like_an_openai_host(upstream, path):
    answer = httpx.post(f"{upstream.url}/v1/{path}", json={"model": "m"})
    assert answer.status_code == 200 and answer.json()

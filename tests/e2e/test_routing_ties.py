"""Ties between a caller, a session or an earlier response and the deployment that serves it."""

import json
import time

import pytest

from gateway import config, entry, streamed
from mock import Answer, Stream
from routing import settings


def served_by(upstreams, server, count=12, **body):
    """How many of the upstreams served so many alike requests."""
    before = [len(up.requests) for up in upstreams]
    for _ in range(count):
        assert server.chat(**body).status_code == 200
    return sum(len(up.requests) > was for up, was in zip(upstreams, before))


@pytest.mark.parametrize("check, body", [
    ("deployment_affinity", {"user": "caller-1"}),
    ("session_affinity", {"metadata": {"session_id": "one"}}),
    ("session_affinity", {"litellm_session_id": "two"}),
    ("session_affinity", {"headers": {"x-litellm-session-id": "three"}}),
])
def test_optional_pre_call_checks(gateway, upstreams, check, body):
    ups = [upstreams() for _ in range(4)]
    server = gateway(config(*[entry("m", up) for up in ups], router=settings(optional_pre_call_checks=[check])), "--num_workers", 2)
    assert served_by(ups, server, **body) == 1
    assert served_by(ups, server, count=24) > 1, "without it nothing ties"


def test_optional_pre_call_checks_responses_api_deployment_check(gateway, upstreams):
    ups = [upstreams() for _ in range(4)]
    made = config(*[entry("m", up) for up in ups], router=settings(optional_pre_call_checks=["responses_api_deployment_check"]))
    server = gateway(made)
    whole = {"id": "", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [],
             "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}
    for number, up in enumerate(ups):
        up.answer(Answer(body={**whole, "id": f"resp_{number}"}))
    first = server.post("/v1/responses", {"model": "m", "input": "hi"}).json()["id"]
    for _ in range(10):
        again = server.post("/v1/responses", {"model": "m", "input": "go on", "previous_response_id": first})
        assert again.json()["id"] == first


def test_optional_pre_call_checks_responses_api_deployment_check_of_streams(gateway, upstreams):
    ups = [upstreams() for _ in range(4)]
    made = config(*[entry("m", up) for up in ups], router=settings(optional_pre_call_checks=["responses_api_deployment_check"]))
    server = gateway(made)
    for number, up in enumerate(ups):
        made = {"id": f"resp_{number}", "object": "response", "created_at": 1, "status": "in_progress", "model": "m", "output": []}
        done = {**made, "status": "completed", "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}
        events = [{"type": "response.created", "sequence_number": 0, "response": made},
                  {"type": "response.completed", "sequence_number": 1, "response": done}]
        up.answer(Stream([f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]))

    def ask(**more):
        return streamed(server.post("/v1/responses", {"model": "m", "input": "hi", "stream": True, **more}))[0]["response"]["id"]

    first = ask()
    assert [ask(previous_response_id=first) for _ in range(10)] == [first] * 10


def test_deployment_affinity_ttl_seconds(gateway, upstreams):
    ups = [upstreams() for _ in range(4)]
    made = config(*[entry("m", up) for up in ups],
                  router=settings(optional_pre_call_checks=["deployment_affinity"], deployment_affinity_ttl_seconds=1))
    server = gateway(made)
    assert served_by(ups, server, user="caller-1") == 1

    def places():
        """Which upstream serves each of twelve callers: by chance, all the same again once in sixteen million times."""
        for number in range(12):
            before = [len(up.requests) for up in ups]
            assert server.chat(user=f"caller-{number}").status_code == 200
            yield [len(up.requests) - was for up, was in zip(ups, before)].index(1)

    first = list(places())
    time.sleep(2.1)
    assert list(places()) != first, "past its time a tie is forgotten"

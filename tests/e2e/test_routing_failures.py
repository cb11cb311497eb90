"""Cooldowns, retries and fallbacks, one row of router_settings a test; one of three deployments in trouble."""

import time

import pytest

import canned
from gateway import config, entry
from mock import Answer, Hang
from routing import FAILS, WELL, many, settings


def test_allowed_fails(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(FAILS)
    server = gateway(config(entry("m", bad), entry("m", good), router=settings(allowed_fails=2, cooldown_time=60)))
    many(server, 60, threads=1)
    assert len(bad.requests) == 3, "the third failure is one too many"


def test_allowed_fails_benches_a_lone_deployment_too(gateway, upstream):
    upstream.answer(FAILS)
    server = gateway(config(entry("m", upstream), router=settings(allowed_fails=1, cooldown_time=60)))
    assert many(server, 6, threads=1) == {500: 2, 429: 4}
    answer = server.chat()
    assert 0 < int(answer.headers["retry-after"]) <= 60


def test_allowed_fails_policy(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    policy = {"RateLimitErrorAllowedFails": 0, "InternalServerErrorAllowedFails": 4}
    made = config(entry("m", bad), entry("m", good), router=settings(allowed_fails_policy=policy, allowed_fails=1, cooldown_time=60))
    bad.answer(FAILS)
    many(gateway(made), 80, threads=1)
    assert len(bad.requests) == 5
    bad.reset()
    bad.answer(Answer(429, canned.error("slow down")))
    many(gateway(made), 80, threads=1)
    assert len(bad.requests) == 1


def test_without_allowed_fails_the_last_deployment_stays(gateway, upstream):
    upstream.answer(FAILS)
    server = gateway(config(entry("m", upstream), router=settings()))
    assert many(server, 40, threads=1) == {500: 40}


def test_cooldown_time(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(FAILS)
    server = gateway(config(entry("m", bad), entry("m", good), router=settings(allowed_fails=0, cooldown_time=2)), "--num_workers", 2)
    many(server, 40)
    first = len(bad.requests)
    assert 1 <= first <= 8, "what was under way when it was benched, at most"
    many(server, 40)
    assert len(bad.requests) == first
    time.sleep(2.1)
    bad.answer(WELL)
    many(server, 40)
    assert len(bad.requests) > first + 5


def test_disable_cooldowns(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(FAILS)
    server = gateway(config(entry("m", bad), entry("m", good), router={"allowed_fails": 0, "disable_cooldowns": True}))
    many(server, 60, threads=1)
    assert len(bad.requests) > 15


def test_retry_policy(gateway, upstream):
    made = config(entry("m", upstream), router=settings(num_retries=0, retry_policy={"BadRequestErrorRetries": 1, "InternalServerErrorRetries": 2}))
    server = gateway(made)
    for status, calls in ((400, 2), (500, 3), (429, 1)):
        upstream.reset()
        upstream.answer(Answer(status, canned.error("scripted")))
        assert server.chat().status_code == status
        assert len(upstream.requests) == calls, status


def test_model_group_retry_policy(gateway, upstreams):
    own, other = upstreams(), upstreams()
    own.answer(FAILS)
    other.answer(FAILS)
    made = config(entry("m", own), entry("other", other),
                  router=settings(retry_policy={"InternalServerErrorRetries": 0}, model_group_retry_policy={"m": {"InternalServerErrorRetries": 1}}))
    server = gateway(made)
    server.chat("m")
    server.chat("other")
    assert (len(own.requests), len(other.requests)) == (2, 1)


def test_model_group_retry_policy_by_label(gateway, upstream):
    upstream.answer(FAILS)
    made = config(entry("m", upstream), router=settings(model_group_alias={"m": "inside"}, model_group_retry_policy={"inside": {"InternalServerErrorRetries": 1}}))
    gateway(made).chat("m")
    assert len(upstream.requests) == 2


def groups(upstreams, names, **script):
    made = {name: upstreams() for name in names}
    for name, answer in script.items():
        made[name].answer(answer)
    return made, [entry(name, up) for name, up in made.items()]


def test_fallbacks(gateway, upstreams):
    ups, entries = groups(upstreams, ["a", "b", "c"], a=FAILS, b=FAILS)
    server = gateway(config(*entries, router=settings(fallbacks=[{"a": ["b", "c"]}])))
    answer = server.chat("a")
    assert answer.status_code == 200 and answer.headers["x-litellm-attempted-fallbacks"] == "2"
    assert [len(ups[name].requests) for name in "abc"] == [1, 1, 1]
    ups["c"].answer(Answer(503, canned.error("the last one")))
    assert server.chat("a").status_code == 503


def test_fallbacks_of_a_stream_before_its_first_byte(gateway, upstreams):
    ups, entries = groups(upstreams, ["a", "b"], a=FAILS)
    server = gateway(config(*entries, router=settings(fallbacks=[{"a": ["b"]}])))
    assert server.chat("a", stream=True).text.endswith("data: [DONE]\n\n")


def test_default_fallbacks(gateway, upstreams):
    ups, entries = groups(upstreams, ["a", "b", "c"], a=FAILS, b=FAILS)
    server = gateway(config(*entries, router=settings(default_fallbacks=["c"], fallbacks=[{"a": ["b"]}])))
    assert server.chat("a").status_code == 200
    assert [len(ups[name].requests) for name in "abc"] == [1, 1, 1]
    assert server.chat("nowhere").status_code == 400, "an unknown name has no fallback"


def test_max_fallbacks(gateway, upstreams):
    names = list("abcd")
    ups, entries = groups(upstreams, names, a=FAILS, b=FAILS, c=FAILS)
    server = gateway(config(*entries, router=settings(fallbacks=[{"a": ["b", "c", "d"]}], max_fallbacks=2)))
    assert server.chat("a").status_code == 500
    assert [len(ups[name].requests) for name in names] == [1, 1, 1, 0]


def test_fallbacks_of_the_request(gateway, upstreams):
    ups, entries = groups(upstreams, ["a", "b", "c"], a=FAILS, b=FAILS)
    server = gateway(config(*entries, router=settings(fallbacks=[{"a": ["b"]}])))
    assert server.chat("a", fallbacks=["c"]).status_code == 200
    assert not ups["b"].requests and "fallbacks" not in ups["c"].last.json


def test_fallbacks_of_the_request_as_objects(gateway, upstreams):
    ups, entries = groups(upstreams, ["a", "c"], a=FAILS)
    server = gateway(config(*entries, router=settings()))
    assert server.chat("a", fallbacks=[{"model": "c", "temperature": 0.3}]).status_code == 200
    assert ups["c"].last.json["temperature"] == 0.3


def test_disable_fallbacks(gateway, upstreams):
    ups, entries = groups(upstreams, ["a", "b"], a=FAILS)
    server = gateway(config(*entries, router=settings(fallbacks=[{"a": ["b"]}])))
    assert server.chat("a", disable_fallbacks=True).status_code == 500
    assert not ups["b"].requests


def test_mock_testing_fallbacks(gateway, upstreams):
    ups, entries = groups(upstreams, ["a", "b"])
    made = config(*entries, router=settings(fallbacks=[{"a": ["b"]}]), general={"dangerously_allow_mock_testing_request_params": True})
    answer = gateway(made).chat("a", mock_testing_fallbacks=True)
    assert answer.status_code == 200 and answer.headers["x-litellm-attempted-fallbacks"] == "1"
    assert not ups["a"].requests and "mock_testing_fallbacks" not in ups["b"].last.json


@pytest.mark.parametrize("trouble", ["kill", "500s", "hang"])
def test_one_of_three_in_trouble(gateway, upstreams, trouble):
    ups = [upstreams() for _ in range(3)]
    made = config(*[entry("m", up, timeout=3) for up in ups], router={"num_retries": None, "disable_cooldowns": None})
    server = gateway(made, "--num_workers", 2)
    assert many(server, 300) == {200: 300}
    before = sum(len(up.requests) for up in ups)
    if trouble == "kill":
        ups[0].stop()
    else:
        ups[0].answer(FAILS if trouble == "500s" else Hang())
    assert many(server, 600) == {200: 600}
    extra = sum(len(up.requests) for up in ups) - before - 600
    assert extra <= 120, extra


@pytest.mark.parametrize("name", ["max_retries", "num_retries"])
def test_retries_of_a_deployment(gateway, upstream, name):
    upstream.answer(FAILS)
    server = gateway(config(entry("m", upstream, **{name: 2}), router=settings(num_retries=0)))
    answer = server.chat()
    assert answer.status_code == 500 and len(upstream.requests) == 3
    assert server.chat(num_retries=0).status_code == 500
    assert len(upstream.requests) == 4, "the request's own number wins"
    assert name not in upstream.last.json

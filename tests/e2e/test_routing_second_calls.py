"""A call beside or after the first one: hedging, and streams that another deployment goes on with."""

import time
from collections import Counter

import canned
from gateway import KEY, config, entry, said, streamed
from mock import Answer, Hang, Stream
from routing import FAILS, WELL, settings, slow


def learn(server, count=40):
    """So many quick answers, by which the gateway knows how soon they usually begin."""
    for _ in range(count):
        assert server.chat().status_code == 200


def test_hedging(gateway, upstreams):
    first, other = upstreams(), upstreams()
    made = config(entry("m", first, weight=1), entry("m", other, weight=0), router=settings(hedging=True))
    server = gateway(made, "--num_workers", 1)
    learn(server)
    other.reset()
    first.reset()
    first.answer(Hang())
    began = time.monotonic()
    answer = server.chat()
    assert answer.status_code == 200 and time.monotonic() - began < 2
    assert len(other.requests) == 1
    assert answer.headers["x-litellm-attempted-retries"] == "0"
    assert first.only.gone.wait(2), "the one that lost is closed at once"
    answer = server.chat(stream=True)
    assert answer.text.endswith("data: [DONE]\n\n") and len(other.requests) == 2


def test_hedging_of_a_first_call_that_fails_late(gateway, upstreams):
    first, other = upstreams(), upstreams()
    made = config(entry("m", first, weight=1), entry("m", other, weight=0), router=settings(hedging=True))
    server = gateway(made, "--num_workers", 1)
    learn(server)
    first.answer(Answer(500, canned.error("late and bad"), delay_s=0.4))
    other.reset()
    other.answer(slow(0.8))
    assert server.chat().status_code == 200
    assert len(other.requests) == 1, "the second call was under way and served"


def test_hedging_counts_both_calls_against_limits(gateway, upstreams):
    first, other = upstreams(), upstreams()
    made = config(entry("m", first, weight=1, max_parallel_requests=1), entry("m", other, weight=0, max_parallel_requests=1),
                  router=settings(hedging=True), general={"master_key": KEY})
    server = gateway(made, "--num_workers", 1)
    for _ in range(40):
        assert server.chat(key=KEY).status_code == 200
    first.answer(slow(1.5))
    other.reset()
    other.answer(slow(1.0))
    assert server.chat(key=KEY).status_code == 200
    state = server.client.get("/router/state", headers={"authorization": f"Bearer {KEY}"}).json()
    assert [d["in_flight"] for d in state["deployments"]] == [0, 0]
    assert len(other.requests) == 1
    first.answer(WELL)
    other.answer(WELL)
    assert many_with_key(server, 20) == {200: 20}, "both slots are free again"


def many_with_key(server, count):
    return Counter(server.chat(key=KEY).status_code for _ in range(count))


def test_hedging_is_off_by_default(gateway, upstreams):
    first, other = upstreams(), upstreams()
    server = gateway(config(entry("m", first, weight=1), entry("m", other, weight=0), router=settings()), "--num_workers", 1)
    learn(server)
    first.answer(slow(0.5))
    assert server.chat().status_code == 200
    assert not other.requests


def chunks(answer):
    """The events of a chat stream, [DONE] left out."""
    return [event for event in streamed(answer) if event != "[DONE]"]


BROKEN = Stream(canned.chat_events(words=("Hel", "lo "))[:3], ending="cut")


def rest(usage=True):
    events = [e.replace("chatcmpl-canned", "chatcmpl-other") for e in canned.chat_events(words=("the", "re"), usage=usage)]
    return Stream(events)


def test_mid_stream_fallback(gateway, upstreams):
    first, other = upstreams(), upstreams()
    first.answer(BROKEN)
    other.answer(rest())
    price = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001}
    made = config(entry("m", first, info=price), entry("other", other, info=price),
                  router=settings(mid_stream_fallback=True, fallbacks=[{"m": ["other"]}]), general={"master_key": KEY})
    server = gateway(made)
    answer = server.chat(stream=True, stream_options={"include_usage": True}, key=KEY)
    assert answer.status_code == 200 and answer.text.endswith("data: [DONE]\n\n")
    events = chunks(answer)
    assert not any("error" in event for event in events), answer.text
    assert said(events) == "Hello there"
    assert len({(e["id"], e["created"], e["model"]) for e in events}) == 1, "one stream for the client"
    roles = [c["delta"]["role"] for e in events for c in e["choices"] if "role" in c["delta"]]
    assert roles == ["assistant"]
    usage = events[-1]["usage"]
    assert usage["prompt_tokens"] > 11 and usage["completion_tokens"] > 7, "both parts are counted"
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    asked = other.only.json["messages"]
    assert asked[-1] == {"role": "assistant", "content": "Hello "} and len(asked) == 2


def test_mid_stream_fallback_is_off_by_default(gateway, upstreams):
    first, other = upstreams(), upstreams()
    first.answer(BROKEN)
    server = gateway(config(entry("m", first), entry("other", other), router=settings(fallbacks=[{"m": ["other"]}])))
    answer = server.chat(stream=True)
    assert not other.requests and "error" in chunks(answer)[-1]


def test_mid_stream_fallback_ends_in_an_error_event_where_nobody_can_go_on(gateway, upstreams):
    first, other = upstreams(), upstreams()
    first.answer(BROKEN)
    other.answer(FAILS)
    server = gateway(config(entry("m", first), entry("other", other),
                            router=settings(mid_stream_fallback=True, fallbacks=[{"m": ["other"]}])))
    answer = server.chat(stream=True)
    events = chunks(answer)
    assert said(events[:-1]) == "Hello " and "error" in events[-1]
    assert answer.text.endswith("data: [DONE]\n\n")
    tool = canned.chunk({"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]})
    first.answer(Stream([canned.event(tool)], ending="cut"))
    other.reset()
    assert "error" in chunks(server.chat(stream=True))[-1]
    assert not other.requests, "a tool call has no continuation"


def test_mid_stream_fallback_twice_and_within_the_group(gateway, upstreams):
    first, second, third = upstreams(), upstreams(), upstreams()
    first.answer(BROKEN)
    second.answer(Stream(canned.chat_events(words=("good ",))[:2], ending="reset"))
    third.answer(rest(usage=False))
    made = config(entry("m", first, order=1), entry("m", second, order=2), entry("last", third),
                  router=settings(mid_stream_fallback=True, num_retries=1, fallbacks=[{"m": ["last"]}]))
    events = chunks(gateway(made).chat(stream=True))
    assert said(events) == "Hello good there"
    assert second.only.json["messages"][-1]["content"] == "Hello "
    assert third.only.json["messages"][-1]["content"] == "Hello good "

"""`include_cost_in_streaming_usage`: what a stream used comes with what it costs, in every client's dialect that
says usage, in front of every wire."""

import pytest

import canned
import wires
from gateway import KEY, config, entry, eventually, get, made_key, streamed
from mock import Stream

PRICE = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.002}
COST = pytest.approx(wires.TOKENS[0] * 0.001 + wires.TOKENS[1] * 0.002)
HELLO = [{"role": "user", "content": "hello"}]
ON = {"include_cost_in_streaming_usage": True}


@pytest.fixture
def start(gateway, upstream):
    def made(litellm, **general):
        wires.arm(upstream)
        entries = wires.entries(upstream)
        for one in entries:
            one["litellm_params"].update(PRICE)
        return gateway(config(*entries, litellm=litellm, general={"master_key": KEY, **general}))

    return made


def ask(server, path, key=KEY, **body):
    answer = server.post(path, {"stream": True, **body}, key=key)
    assert answer.status_code == 200, answer.text
    return [event for event in streamed(answer) if event != "[DONE]"]


def usages(events):
    """Every usage that these events state."""
    stated = [event.get("usage") or (event.get("response") or {}).get("usage") for event in events]
    return [usage for usage in stated if usage]


CHAT = {"messages": HELLO, "stream_options": {"include_usage": True}}
DIALECTS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "hello", "stream_options": {"include_usage": True}},
    "/v1/messages": {"messages": HELLO, "max_tokens": 20},
    "/v1/responses": {"input": "hello"},
}


@pytest.mark.parametrize("path", DIALECTS)
def test_include_cost_in_streaming_usage(start, path):
    server = start(ON)
    for model in ("anthropic", "gemini", "bedrock"):
        *_, last = usages(ask(server, path, model=model, **DIALECTS[path]))
        assert last["cost"] == COST, (model, last)


def test_include_cost_in_streaming_usage_of_events_that_pass(start, upstream):
    server = start(ON)
    (usage,) = usages(ask(server, "/v1/chat/completions", model="openai", **CHAT))
    assert (usage["total_tokens"], usage["cost"]) == (18, COST)
    # One whose client asks for no usage says none.
    assert not usages(ask(server, "/v1/chat/completions", model="openai", messages=HELLO))
    # Usage that counts on is said once; an amount of the vendor's own gives way.
    counted = [{"prompt_tokens": 11, "completion_tokens": n, "total_tokens": 11 + n, "cost": 9} for n in (1, 7)]
    frames = [canned.event(canned.chunk({"content": "x"}, usage=usage)) for usage in counted]
    upstream.answer(Stream([*frames, canned.event(canned.chunk({}, finish="stop")), canned.event("[DONE]")], gap_s=0.2))
    costs = [usage["cost"] for usage in usages(ask(server, "/v1/chat/completions", model="openai", **CHAT))]
    assert costs == [COST]


def test_include_cost_in_streaming_usage_of_tools_and_whole_answers(start):
    server = start(ON)
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    (usage,) = usages(ask(server, "/v1/chat/completions", model="anthropic", tools=[tool], **CHAT))
    assert usage["cost"] == COST
    whole = server.post("/v1/chat/completions", {"model": "openai", "messages": HELLO}, key=KEY)
    assert "cost" not in whole.json()["usage"] and float(whole.headers["x-litellm-response-cost"]) == COST


def test_include_cost_in_streaming_usage_is_what_the_row_says(store, start):
    server = start(ON, proxy_batch_write_at=0.1, **store)
    key = made_key(server)
    (usage,) = usages(ask(server, "/v1/chat/completions", key=key, model="openai", **CHAT))
    (row,) = eventually(lambda: get(server, "/spend/logs", api_key=key))
    assert row["spend"] == pytest.approx(usage["cost"]) == COST


def test_include_cost_in_streaming_usage_of_a_stream_that_went_on(gateway, upstreams):
    first, other = upstreams(), upstreams()
    first.answer(Stream(canned.chat_events(words=("Hel", "lo "))[:3], ending="cut"))
    other.answer(Stream(canned.chat_events(words=("the", "re"), usage=True)))
    flat = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001}
    router = {"mid_stream_fallback": True, "fallbacks": [{"m": ["other"]}]}
    server = gateway(config(entry("m", first, **flat), entry("other", other, **flat), router=router, litellm=ON,
                            general={"master_key": KEY}))
    *_, usage = usages(ask(server, "/v1/chat/completions", model="m", **CHAT))
    assert usage["total_tokens"] > 18 and usage["cost"] == pytest.approx(usage["total_tokens"] * 0.001)


def test_include_cost_in_streaming_usage_is_off_by_default(start):
    server = start({})
    (usage,) = usages(ask(server, "/v1/chat/completions", model="openai", **CHAT))
    assert "cost" not in usage

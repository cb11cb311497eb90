"""Which deployments a request may go to at all: windows of context, tags, and fallbacks by what an error means."""

import canned
from gateway import config, entry
from mock import Answer
from routing import FAILS, many, settings


def test_enable_pre_call_checks(gateway, upstreams):
    small, large = upstreams(), upstreams()
    server = gateway(config(entry("m", small, info={"max_input_tokens": 12}), entry("big", large),
                            router=settings(enable_pre_call_checks=True)))
    assert server.chat(content="hello").status_code == 200
    answer = server.chat(content="word " * 200)
    assert answer.status_code == 400 and "ContextWindowExceededError" in answer.text
    assert len(small.requests) == 1, "too long a prompt never leaves"


def test_context_window_fallbacks(gateway, upstreams):
    small, large = upstreams(), upstreams()
    server = gateway(config(entry("m", small, info={"max_tokens": 12}), entry("big", large),
                            router=settings(enable_pre_call_checks=True, context_window_fallbacks=[{"m": ["big"]}])))
    assert server.chat(content="word " * 200).status_code == 200
    assert not small.requests and len(large.requests) == 1
    small.answer(Answer(400, canned.error("This model's maximum context length is 4097 tokens.", code="context_length_exceeded")))
    answer = server.chat(content="hi")
    assert answer.status_code == 200 and answer.headers["x-litellm-attempted-fallbacks"] == "1"


def test_content_policy_fallbacks(gateway, upstreams):
    strict, lenient, general = upstreams(), upstreams(), upstreams()
    strict.answer(Answer(400, canned.error("content_policy_violation", code="content_policy_violation")))
    server = gateway(config(entry("m", strict), entry("lenient", lenient), entry("general", general),
                            router=settings(content_policy_fallbacks=[{"m": ["lenient"]}], fallbacks=[{"m": ["general"]}])))
    assert server.chat().status_code == 200
    assert len(lenient.requests) == 1 and not general.requests


def test_optional_pre_call_checks_prompt_caching(gateway, upstreams):
    ups = [upstreams() for _ in range(4)]
    made = config(*[entry("m", up, info={"supports_prompt_caching": True}) for up in ups],
                  router=settings(optional_pre_call_checks=["prompt_caching"]))
    server = gateway(made)
    system = {"role": "system", "content": [{"type": "text", "text": "rule " * 1500, "cache_control": {"type": "ephemeral"}}]}
    for number in range(12):
        messages = [system, {"role": "user", "content": f"question {number}"}]
        assert server.post("/v1/chat/completions", {"model": "m", "messages": messages}).status_code == 200
    assert sorted(len(up.requests) for up in ups) == [0, 0, 0, 12]


def test_enable_tag_filtering(gateway, upstreams):
    free, paid = upstreams(), upstreams()
    server = gateway(config(entry("m", free, tags=["free"]), entry("m", paid, tags=["paid"]), router=settings(enable_tag_filtering=True)))
    for how in ({"tags": ["paid"]}, {"metadata": {"tags": ["paid"]}}, {"headers": {"x-litellm-tags": "paid"}}):
        for _ in range(5):
            assert server.chat(**how).status_code == 200
    assert len(paid.requests) == 15 and not free.requests
    assert server.chat(tags=["other"]).status_code == 401


def test_tag_filtering_match_any(gateway, upstreams):
    one, both = upstreams(), upstreams()
    entries = [entry("m", one, tags=["a"]), entry("m", both, tags=["a", "b"])]
    server = gateway(config(*entries, router=settings(enable_tag_filtering=True, tag_filtering_match_any=False)))
    for _ in range(12):
        assert server.chat(tags=["a", "b"]).status_code == 200
    assert not one.requests and len(both.requests) == 12
    server = gateway(config(*entries, router=settings(enable_tag_filtering=True)))
    for _ in range(24):
        assert server.chat(tags=["a", "b"]).status_code == 200
    assert one.requests, "one common tag is enough by default"


def test_tag_regex(gateway, upstreams):
    tools, others = upstreams(), upstreams()
    made = config(entry("m", tools, tag_regex=["^User-Agent: claude-code/"]), entry("m", others, tags=["default"]),
                  router=settings(enable_tag_filtering=True))
    server = gateway(made)
    for _ in range(10):
        assert server.chat(headers={"user-agent": "curl/8"}).status_code == 200
    assert not tools.requests and len(others.requests) == 10
    for _ in range(10):
        assert server.chat(headers={"user-agent": "claude-code/1.0"}).status_code == 200
    assert tools.requests and "tag_regex" not in tools.last.json


def test_enable_pre_call_checks_counts_exactly_near_the_window(gateway, upstream):
    made = config(entry("m", upstream, info={"max_input_tokens": 1000}), router=settings(enable_pre_call_checks=True))
    server = gateway(made)
    # By four bytes a token it would not fit; a word of many letters is one token.
    assert server.chat(content="international " * 900).status_code == 200
    # By four bytes a token it would fit; digits are a token for three at most.
    answer = server.chat(content="x1y2z3" * 500)
    assert answer.status_code == 400 and "ContextWindowExceededError" in answer.text
    assert len(upstream.requests) == 1
    assert server.chat(content="word " * 100_000).status_code == 400, "half a megabyte is counted elsewhere"


def test_windows_and_prices_come_from_the_price_map(gateway, upstreams):
    dear, cheap = upstreams(), upstreams()
    made = config(entry("m", dear, model="openai/gpt-4"), entry("m", cheap, model="openai/gpt-4o-mini"),
                  router=settings(enable_pre_call_checks=True, routing_strategy="cost-based-routing"))
    server = gateway(made)
    assert many(server, 10) == {200: 10}
    assert not dear.requests and len(cheap.requests) == 10
    cheap.answer(FAILS)
    assert server.chat(content="word " * 20_000).status_code != 200, "it does not fit the other one"
    assert not dear.requests

"""cache_responses and caching_groups: what is answered from memory, and what never is."""

import time

import canned
from gateway import KEY, config, entry, eventually, get
from mock import Answer, Call
from routing import FAILS, settings


def numbered(upstream):
    """Each answer has another id."""
    def play(connection, request):
        return Answer(body={**canned.chat(), "id": f"chatcmpl-{len(upstream.requests)}"}).play(connection, request)

    return Call(play)


def test_cache_responses(gateway, upstream):
    upstream.answer(numbered(upstream))
    price = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001}
    made = config(entry("m", upstream, info=price), entry("other", upstream), router=settings(cache_responses=True), general={"master_key": KEY})
    server = gateway(made, "--num_workers", 1)
    key = server.post("/key/generate", {}, key=KEY).json()["key"]
    first = server.chat(key=key, temperature=0, seed=1)
    assert float(first.headers["x-litellm-response-cost"]) > 0
    for body in ({"temperature": 0, "seed": 1}, {"seed": 1, "temperature": 0}, {"seed": 1, "temperature": 0, "metadata": {"a": 1}}):
        again = server.chat(key=key, **body)
        assert again.json() == first.json() and again.headers["x-litellm-response-cost"] == "0"
        assert len(again.headers["x-litellm-cache-key"]) == 64
    assert len(upstream.requests) == 1
    for body in ({"seed": 2}, {"user": "u"}, {"cache": {"namespace": "n"}}, {"cache": {"no-cache": True}}, {"caching": False}, {"stream": True}):
        before = len(upstream.requests)
        assert server.chat(key=key, **{"temperature": 0, "seed": 1, **body}).status_code == 200
        assert len(upstream.requests) == before + 1, body
    before = len(upstream.requests)
    assert server.chat("other", key=key, temperature=0, seed=1).status_code == 200
    assert server.chat(content="else", key=key, temperature=0, seed=1).status_code == 200
    for _ in range(2):
        assert server.chat(content="unkept", key=key, cache={"no-store": True}).status_code == 200
    for _ in range(2):
        assert server.chat(content="short", key=key, cache={"ttl": 0.2}).status_code == 200
        time.sleep(0.3)
    assert len(upstream.requests) == before + 6
    assert "cache" not in upstream.last.json
    upstream.answer(FAILS)
    for _ in range(2):
        assert server.chat(content="errors are not kept", key=key).status_code == 500
    assert len(upstream.requests) == before + 8
    limited = server.post("/key/generate", {"models": ["other"]}, key=KEY).json()["key"]
    assert server.chat(key=limited, temperature=0, seed=1).status_code == 403, "whoever may not use the model gets nothing"
    rows = eventually(lambda: [row for row in get(server, "/spend/logs") if row["cache_hit"] == "True"])
    assert all(row["spend"] == 0 and len(row["cache_key"]) == 64 for row in rows)


def test_cache_responses_is_off_by_default(gateway, upstream):
    server = gateway(config(entry("m", upstream), router=settings()))
    for _ in range(3):
        assert server.chat(temperature=0).status_code == 200
    assert len(upstream.requests) == 3


def test_caching_groups(gateway, upstreams):
    ups = {name: upstreams() for name in ("a", "b", "c")}
    made = config(*[entry(name, up) for name, up in ups.items()], router=settings(cache_responses=True, caching_groups=[["a", "b"]]))
    server = gateway(made, "--num_workers", 1)
    for content, names in (("one", "abab"), ("two", "baab")):
        answers = [server.chat(name, content=content).json() for name in names]
        assert len({answer["id"] for answer in answers}) == 1
        assert [answer["model"] for answer in answers] == list(names), "in the name of the model asked for"
    assert [len(up.requests) for up in ups.values()] == [1, 1, 0], "both ways"
    assert server.chat("c", content="one").status_code == 200
    assert len(ups["c"].requests) == 1, "who is in no group shares nothing"

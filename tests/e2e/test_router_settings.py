"""Each row of router_settings, by its name: it is set, and its effect is seen from outside. Rows about
Redis belong to other files; num_retries, timeout, stream_timeout, client_ttl and
default_litellm_params are in test_parameters.py."""

import json
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import canned
from gateway import KEY, config, entry, request
from mock import Answer, Call, Hang, Stream

FAILS = Answer(500, canned.error("down"))
WELL = Answer(body=canned.chat())


def settings(**router):
    """Cooldowns are on in this file, unless a test turns them off."""
    return {"disable_cooldowns": None, **router}


def many(server, count, threads=8, **body):
    """So many requests over several connections; their statuses."""
    message = {"model": "m", "messages": [{"role": "user", "content": "x"}], **body}

    def some(number):
        with httpx.Client(base_url=server.base_url, trust_env=False, timeout=60) as client:
            return [client.post("/v1/chat/completions", json=message).status_code for _ in range(number)]

    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(some, [count // threads + (at < count % threads) for at in range(threads)])
    return Counter(status for part in parts for status in part)


def slow(seconds):
    return Answer(body=canned.chat(), delay_s=seconds)


# routing_strategy

@pytest.mark.parametrize("workers", [1, 2])
def test_routing_strategy_simple_shuffle(gateway, upstreams, workers):
    seven, three = upstreams(), upstreams()
    made = config(entry("m", seven, weight=7), entry("m", three, weight=3), router=settings(routing_strategy="simple-shuffle"))
    server = gateway(made, "--num_workers", workers)
    assert many(server, 10_000) == {200: 10_000}
    assert len(seven.requests) + len(three.requests) == 10_000
    share = len(seven.requests) / 10_000
    assert 0.68 < share < 0.72, share


@pytest.mark.parametrize("workers", [1, 2])
def test_routing_strategy_least_busy(gateway, upstreams, workers):
    busy, free = upstreams(), upstreams()
    busy.answer(slow(3))
    free.answer(WELL)
    server = gateway(config(entry("m", busy), entry("m", free), router=settings(routing_strategy="least-busy")), "--num_workers", workers)
    assert many(server, 200) == {200: 200}
    assert len(busy.requests) <= 40, "one that runs as many calls gets no more"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
def test_routing_strategy_latency_based_routing(gateway, upstreams, stream, workers):
    late, quick = upstreams(), upstreams()
    late.answer(Stream(canned.chat_events(usage=True), first_delay_s=0.3) if stream else slow(0.3))
    quick.answer(Stream(canned.chat_events(usage=True), first_delay_s=0.01) if stream else slow(0.01))
    server = gateway(config(entry("m", late), entry("m", quick), router=settings(routing_strategy="latency-based-routing")),
                     "--num_workers", workers)
    assert many(server, 100, threads=4, stream=stream) == {200: 100}
    assert len(late.requests) <= 15, len(late.requests)


def test_routing_strategy_args_lowest_latency_buffer(gateway, upstreams):
    late, quick = upstreams(), upstreams()
    late.answer(slow(0.1))
    quick.answer(slow(0.05))
    args = {"lowest_latency_buffer": 5.0, "ttl": 300}
    server = gateway(config(entry("m", late), entry("m", quick),
                            router=settings(routing_strategy="latency-based-routing", routing_strategy_args=args)))
    assert many(server, 100, threads=2) == {200: 100}
    assert len(late.requests) >= 25, "both are within the buffer of the fastest"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("strategy", ["usage-based-routing", "usage-based-routing-v2"])
def test_routing_strategy_usage_based(gateway, upstreams, strategy, workers):
    heavy, light = upstreams(), upstreams()
    usage = {"prompt_tokens": 500, "completion_tokens": 400, "total_tokens": 900}
    heavy.answer(Answer(body={**canned.chat(), "usage": usage}))
    light.answer(Answer(body={**canned.chat(), "usage": {**usage, "prompt_tokens": 60, "completion_tokens": 40}}))
    server = gateway(config(entry("m", heavy), entry("m", light), router=settings(routing_strategy=strategy)), "--num_workers", workers)
    assert many(server, 100, threads=1) == {200: 100}
    assert 5 <= len(heavy.requests) <= 20, "tokens are shared evenly: about one request in ten"


@pytest.mark.parametrize("workers", [1, 2])
def test_routing_strategy_cost_based_routing(gateway, upstreams, workers):
    dear, cheap = upstreams(), upstreams()
    price = lambda each: {"input_cost_per_token": each, "output_cost_per_token": each}
    server = gateway(config(entry("m", dear, info=price(0.002)), entry("m", cheap, info=price(0.001)),
                            router=settings(routing_strategy="cost-based-routing")), "--num_workers", workers)
    assert many(server, 40) == {200: 40}
    assert not dear.requests and len(cheap.requests) == 40


# Limits and the queue

def test_rpm_is_exact_on_two_shards(gateway, upstream):
    server = gateway(config(entry("m", upstream, rpm=60), router=settings()), "--num_workers", 2)
    assert many(server, 240) == {200: 60, 429: 180}
    assert len(upstream.requests) == 60


def test_tpm(gateway, upstream):
    server = gateway(config(entry("m", upstream, tpm=180), router=settings()), "--num_workers", 1)
    statuses = many(server, 30, threads=1)
    # 18 tokens each by the upstream's account.
    assert 9 <= statuses[200] <= 11 and statuses[429] == 30 - statuses[200], statuses


def test_a_full_deployment_is_skipped(gateway, upstreams):
    small, large = upstreams(), upstreams()
    server = gateway(config(entry("m", small, rpm=5), entry("m", large), router=settings()))
    assert many(server, 60) == {200: 60}
    assert len(small.requests) == 5


def test_default_max_parallel_requests(gateway, upstream):
    upstream.answer(slow(0.3))
    server = gateway(config(entry("m", upstream), router=settings(default_max_parallel_requests=2)), "--num_workers", 2)
    began = time.monotonic()
    assert many(server, 8) == {200: 8}
    assert 1.1 < time.monotonic() - began < 3, "two at a time, four rounds"


def test_default_priority(gateway, upstream):
    upstream.answer(slow(0.4))
    server = gateway(config(entry("m", upstream, max_parallel_requests=1), router=settings(default_priority=5)), "--num_workers", 2)
    threads = []

    def ask(content, **body):
        thread = threading.Thread(target=lambda: httpx.post(
            server.base_url + "/v1/chat/completions", trust_env=False, timeout=30,
            json={"model": "m", "messages": [{"role": "user", "content": content}], **body}))
        thread.start()
        threads.append(thread)
        time.sleep(0.08)

    ask("running")
    ask("late", priority=9)
    ask("default")
    ask("first", priority=0)
    for thread in threads:
        thread.join()
    order = [request.json["messages"][0]["content"] for request in upstream.requests]
    assert order == ["running", "first", "default", "late"]


def test_the_queue_keeps_its_order_over_many_shards(gateway, upstream):
    server = gateway(config(entry("m", upstream, max_parallel_requests=1), router=settings()), "--num_workers", 4)
    upstream.answer(slow(2.5), slow(0.02))
    # A connection of its own each: all shards have some.
    raws = [server.connect(30) for _ in range(40)]
    for number, raw in enumerate(raws):
        priority = (number * 7) % 5 if number else 0
        raw.send(request({"model": "m", "messages": [{"role": "user", "content": f"{priority}:{number}"}], "priority": priority}))
        time.sleep(0.04)
    assert [raw.answer()[0] for raw in raws] == [200] * 40
    order = [tuple(map(int, got.json["messages"][0]["content"].split(":"))) for got in upstream.requests]
    assert len(order) == 40 and order[0] == (0, 0)
    assert order[1:] == sorted(order[1:]), "by priority, and first come first served within one"


def test_polling_interval_is_only_a_ceiling(gateway, upstream):
    upstream.answer(slow(0.1))
    server = gateway(config(entry("m", upstream, max_parallel_requests=1), router=settings(polling_interval=2.0)), "--num_workers", 1)
    began = time.monotonic()
    assert many(server, 5, threads=5) == {200: 5}
    assert time.monotonic() - began < 2, "a freed slot wakes the next at once"


def test_a_request_that_waits_too_long_gets_429(gateway, upstream):
    upstream.answer(slow(2))
    server = gateway(config(entry("m", upstream, max_parallel_requests=1), router=settings(timeout=5)))
    first = threading.Thread(target=lambda: server.chat())
    first.start()
    upstream.wait(1)
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=30) as client:
        began = time.monotonic()
        answer = client.post("/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": "x"}], "timeout": 0.5})
    assert answer.status_code == 429 and 0.4 < time.monotonic() - began < 1.5
    assert int(answer.headers["retry-after"]) > 0
    first.join()


def test_retry_after_names_the_soonest_return(gateway, upstreams):
    soon, late = upstreams(), upstreams()
    for up in (soon, late):
        up.answer(FAILS)
    made = config(entry("m", soon, cooldown_time=7), entry("m", late, cooldown_time=50), router=settings(allowed_fails=0))
    server = gateway(made)
    many(server, 10, threads=1)
    answer = server.chat()
    assert answer.status_code == 429 and 1 <= int(answer.headers["retry-after"]) <= 7
    made = config(entry("m", soon, rpm=1), entry("m", late, rpm=1, cooldown_time=3), router=settings(allowed_fails=0))
    soon.reset()
    late.reset()
    late.answer(FAILS)
    server = gateway(made)
    many(server, 10, threads=1)
    answer = server.chat()
    assert answer.status_code == 429
    assert 50 <= int(answer.headers["retry-after"]) <= 60, "the cooldown ends first, but its window of rpm is used up too"


@pytest.mark.parametrize("fault, status", [("rpm", 429), ("tpm", 429), ("cooldown", 429), ("tags", 401), ("window", 400), ("slots", 429)])
def test_a_call_by_deployment_id_goes_through_the_same_checks(gateway, upstreams, fault, status):
    named, other = upstreams(), upstreams()
    params = {"rpm": {"rpm": 1}, "tpm": {"tpm": 20}, "tags": {"tags": ["paid"]}, "slots": {"max_parallel_requests": 1}}.get(fault, {})
    info = {"id": "named", **({"max_input_tokens": 12} if fault == "window" else {})}
    made = config(entry("m", named, info=info, **params), entry("m", other, info={"id": "other"}),
                  router=settings(allowed_fails=0, cooldown_time=60, enable_tag_filtering=True, enable_pre_call_checks=True))
    server = gateway(made, "--num_workers", 2)
    running = None
    if fault in ("rpm", "tpm"):
        assert server.chat("named").status_code == 200
    elif fault == "cooldown":
        named.answer(FAILS)
        assert server.chat("named").status_code == 500
    elif fault == "slots":
        named.answer(slow(1.5))
        running = threading.Thread(target=lambda: httpx.post(server.base_url + "/v1/chat/completions", trust_env=False, json={
            "model": "named", "messages": [{"role": "user", "content": "x"}]}))
        running.start()
        named.wait(1)
    before = len(named.requests)
    answer = server.chat("named", content="word " * 200 if fault == "window" else "hi", tags=["free"] if fault == "tags" else [], timeout=0.4)
    assert answer.status_code == status, answer.text
    if running:
        running.join()
    assert len(named.requests) == before and not other.requests


def test_max_queued_requests(gateway, upstream):
    upstream.answer(slow(1.0))
    server = gateway(config(entry("m", upstream, max_parallel_requests=1), router=settings(max_queued_requests=2)), "--num_workers", 1)
    raws = [server.connect() for _ in range(5)]
    for number, raw in enumerate(raws):
        raw.send(request({"model": "m", "messages": [{"role": "user", "content": str(number)}]}))
        if number == 0:
            upstream.wait(1)
        time.sleep(0.05)
    began = time.monotonic()
    for raw in raws[3:]:
        status, headers, _ = raw.answer()
        assert status == 429 and int(headers["retry-after"]) >= 1, "one runs, two wait, the others are turned away"
    assert time.monotonic() - began < 0.5, "at once"
    assert [raw.answer()[0] for raw in raws[:3]] == [200] * 3


@pytest.mark.parametrize("floor, ratio, least, most", [(0, 0.0, 100, 100), (0, 0.5, 120, 160), (1000, 0.0, 400, 400)])
def test_retry_budget_ratio_and_floor(gateway, upstream, floor, ratio, least, most):
    upstream.answer(FAILS)
    server = gateway(config(entry("m", upstream), router={"num_retries": 3, "retry_policy": {"InternalServerErrorRetries": 3}, "disable_cooldowns": True,
                                                          "retry_budget_floor": floor, "retry_budget_ratio": ratio}))
    assert many(server, 100, threads=25) == {500: 100}
    assert least <= len(upstream.requests) <= most, len(upstream.requests)


# Connections to upstreams

def test_connect_timeout(gateway, upstream):
    # A listener that accepts nobody: once its queue is full, nobody's SYN is answered.
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    time.sleep(0.1)
    made = config(entry("m", f"http://127.0.0.1:{port}/v1"), entry("other", upstream), router=settings(connect_timeout=0.4, fallbacks=[{"m": ["other"]}]))
    server = gateway(made)
    began = time.monotonic()
    answer = server.chat()
    took = time.monotonic() - began
    assert answer.status_code == 200 and answer.headers["x-litellm-attempted-fallbacks"] == "1"
    assert 0.35 < took < 2, took
    for one in [*waiting, full]:
        one.close()


def wait_until(what, seconds=5):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_upstream_idle_timeout(gateway, upstream):
    server = gateway(config(entry("m", upstream), router=settings(upstream_idle_timeout=1)), "--num_workers", 1)
    assert server.chat().status_code == 200 and server.chat().status_code == 200
    assert (upstream.connections, upstream.open_connections) == (1, 1)
    wait_until(lambda: upstream.open_connections == 0)


def test_max_idle_connections(gateway, upstream):
    upstream.answer(slow(0.3))
    server = gateway(config(entry("m", upstream), router=settings(max_idle_connections=2)), "--num_workers", 1)
    assert many(server, 6, threads=6) == {200: 6}
    assert upstream.connections == 6
    wait_until(lambda: upstream.open_connections == 2)


def test_max_upstream_connections(gateway, upstream):
    upstream.answer(slow(0.2))
    server = gateway(config(entry("m", upstream), router=settings(max_upstream_connections=2)), "--num_workers", 1)
    began = time.monotonic()
    assert many(server, 6, threads=6) == {200: 6}
    assert upstream.connections == 2 and time.monotonic() - began > 0.55, "the others wait for one of the two"


# Filters

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


# Failures

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


# What the router tells of itself

def test_router_state(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(FAILS)
    made = config(entry("m", bad, info={"id": "bad"}), entry("m", good, info={"id": "good"}, rpm=1000),
                  router=settings(allowed_fails=0, cooldown_time=60), general={"master_key": KEY})
    server = gateway(made)
    assert server.client.get("/router/state").status_code == 401
    for _ in range(20):
        server.chat(key=KEY)
    answer = server.client.get("/router/state", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200, answer.text
    state = answer.json()
    first, second = state["deployments"]
    assert (first["id"], first["state"], first["failed"]) == ("bad", "cooling down", 1)
    assert 0 < first["cooldown_ends_in_s"] <= 60
    assert (second["state"], second["in_flight"], second["rpm_used"]) == ("in rotation", 0, len(good.requests))
    last = state["decisions"][0]
    assert (last["deployment"], last["why"], last["cooling_down"]) == ("good", "the only one left", 1)


# One of three deployments in trouble, under load

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


# Hedging, and streams that break

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


def chunks(text):
    """The events of a chat stream, [DONE] left out."""
    payloads = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(p) for p in payloads if p != "[DONE]"]


def said(events):
    return "".join(c["delta"].get("content") or "" for e in events for c in e.get("choices", []))


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
    events = chunks(answer.text)
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
    assert not other.requests and "error" in chunks(answer.text)[-1]


def test_mid_stream_fallback_ends_in_an_error_event_where_nobody_can_go_on(gateway, upstreams):
    first, other = upstreams(), upstreams()
    first.answer(BROKEN)
    other.answer(FAILS)
    server = gateway(config(entry("m", first), entry("other", other),
                            router=settings(mid_stream_fallback=True, fallbacks=[{"m": ["other"]}])))
    answer = server.chat(stream=True)
    events = chunks(answer.text)
    assert said(events[:-1]) == "Hello " and "error" in events[-1]
    assert answer.text.endswith("data: [DONE]\n\n")
    tool = canned.chunk({"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]})
    first.answer(Stream([canned.event(tool)], ending="cut"))
    other.reset()
    assert "error" in chunks(server.chat(stream=True).text)[-1]
    assert not other.requests, "a tool call has no continuation"


def test_mid_stream_fallback_twice_and_within_the_group(gateway, upstreams):
    first, second, third = upstreams(), upstreams(), upstreams()
    first.answer(BROKEN)
    second.answer(Stream(canned.chat_events(words=("good ",))[:2], ending="reset"))
    third.answer(rest(usage=False))
    made = config(entry("m", first, order=1), entry("m", second, order=2), entry("last", third),
                  router=settings(mid_stream_fallback=True, num_retries=1, fallbacks=[{"m": ["last"]}]))
    events = chunks(gateway(made).chat(stream=True).text)
    assert said(events) == "Hello good there"
    assert second.only.json["messages"][-1]["content"] == "Hello "
    assert third.only.json["messages"][-1]["content"] == "Hello good "


# Ties between a request and a deployment

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
        text = server.post("/v1/responses", {"model": "m", "input": "hi", "stream": True, **more}).text
        return json.loads(text.split("data: ")[1].splitlines()[0])["response"]["id"]

    first = ask()
    assert [ask(previous_response_id=first) for _ in range(10)] == [first] * 10


def test_deployment_affinity_ttl_seconds(gateway, upstreams):
    ups = [upstreams() for _ in range(4)]
    made = config(*[entry("m", up) for up in ups],
                  router=settings(optional_pre_call_checks=["deployment_affinity"], deployment_affinity_ttl_seconds=1))
    server = gateway(made)
    assert served_by(ups, server, user="caller-1") == 1
    seen = set()
    for _ in range(5):
        time.sleep(2.1)
        before = [len(up.requests) for up in ups]
        assert server.chat(user="caller-1").status_code == 200
        seen.add([len(up.requests) - was for up, was in zip(ups, before)].index(1))
    assert len(seen) > 1, "past its time a tie is forgotten"


# Limits, retries, tags and names

def test_enforce_model_rate_limits(gateway, upstream):
    server = gateway(config(entry("m", upstream, rpm=3), router=settings(enforce_model_rate_limits=False)))
    assert many(server, 20) == {200: 20}, "rpm is only a share then"
    server = gateway(config(entry("m", upstream, rpm=3), router=settings(enforce_model_rate_limits=True)))
    assert many(server, 20) == {200: 3, 429: 17}


def test_disable_retry_on_max_parallel_request_limit_error(gateway, upstream):
    upstream.answer(slow(1))
    made = config(entry("m", upstream, max_parallel_requests=1), router=settings(),
                  general={"disable_retry_on_max_parallel_request_limit_error": True})
    server = gateway(made)
    first = threading.Thread(target=lambda: server.chat())
    first.start()
    upstream.wait(1)
    began = time.monotonic()
    with httpx.Client(base_url=server.base_url, trust_env=False, timeout=30) as client:
        answer = client.post("/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert answer.status_code == 429 and time.monotonic() - began < 0.5
    first.join()


def test_enable_weighted_failover(gateway, upstreams):
    dear, middle, cheap = upstreams(), upstreams(), upstreams()
    cheap.answer(FAILS)
    price = lambda each: {"input_cost_per_token": each, "output_cost_per_token": each}
    made = lambda **more: config(entry("m", dear, info=price(0.003), weight=9), entry("m", middle, info=price(0.002), weight=1),
                                 entry("m", cheap, info=price(0.001), weight=1),
                                 router={"routing_strategy": "cost-based-routing", "num_retries": 1, "retry_budget_floor": 1000, **more})
    server = gateway(made())
    assert many(server, 30, threads=1) == {200: 30}
    assert len(middle.requests) == 30 and not dear.requests, "a retry goes by the strategy"
    server = gateway(made(enable_weighted_failover=True))
    assert many(server, 30, threads=1) == {200: 30}
    assert len(dear.requests) >= 18, "nine of ten retries go by weight"


@pytest.mark.parametrize("name", ["max_retries", "num_retries"])
def test_retries_of_a_deployment(gateway, upstream, name):
    upstream.answer(FAILS)
    server = gateway(config(entry("m", upstream, **{name: 2}), router=settings(num_retries=0)))
    answer = server.chat()
    assert answer.status_code == 500 and len(upstream.requests) == 3
    assert server.chat(num_retries=0).status_code == 500
    assert len(upstream.requests) == 4, "the request's own number wins"
    assert name not in upstream.last.json


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


def test_model_alias_map(gateway, upstream):
    server = gateway(config(entry("m", upstream), litellm={"model_alias_map": {"gpt-old": "m"}}))
    answer = server.chat("gpt-old")
    assert answer.status_code == 200 and answer.json()["model"] == "gpt-old"
    assert upstream.only.json["model"] == "upstream-model"


def test_return_response_headers(gateway, upstream):
    upstream.answer(Answer(body=canned.chat(), headers={"x-custom": "1"}))
    assert "llm_provider-x-custom" in gateway(config(entry("m", upstream))).chat().headers
    server = gateway(config(entry("m", upstream), litellm={"return_response_headers": False}))
    answer = server.chat()
    assert not [name for name in answer.headers if name.startswith("llm_provider-")]
    assert "x-litellm-model-id" in answer.headers


def test_custom_routing_strategy_path(gateway, upstreams):
    ups = [upstreams(), upstreams()]
    made = config(*[entry("m", up) for up in ups], router=settings(routing_strategy="custom", custom_routing_strategy_path="my_router.strategy"))
    server = gateway(made)
    server.wait_log("custom_routing_strategy_path.*not in force yet; simple-shuffle serves")
    assert many(server, 20) == {200: 20}


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


# Rows whose effect is elsewhere, or later

def test_assistants_config(gateway, upstream):
    upstream.answer(Answer(body={"id": "asst_1", "object": "assistant"}))
    made = config(router=settings(assistants_config={"custom_llm_provider": "openai", "litellm_params": {
        "api_base": upstream.url + "/v1", "api_key": "sk-assistants"}}), general={"master_key": KEY})
    server = gateway(made)
    assert server.post("/v1/assistants", {"model": "gpt-4o"}).status_code == 401
    for path in ("/v1/assistants", "/v1/threads", "/v1/threads/thread_1/messages", "/v1/threads/thread_1/runs"):
        answer = server.post(path, {"metadata": {"path": path}}, key=KEY)
        assert answer.status_code == 200 and answer.json()["id"] == "asst_1", answer.text
        sent = upstream.last
        assert sent.path == path and sent.json == {"metadata": {"path": path}}
        assert sent.header("authorization") == "Bearer sk-assistants" and sent.header("openai-beta") == "assistants=v2"


def test_debug_level(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(FAILS)
    entries = [entry("m", bad, info={"id": "bad"}), entry("m", good, info={"id": "good"})]
    router = dict(allowed_fails=0, cooldown_time=60, num_retries=2, routing_strategy="simple-shuffle")
    server = gateway(config(*entries, router=settings(debug_level="DEBUG", **router)))
    for _ in range(20):
        assert server.chat(content="a secret prompt").status_code == 200
    server.wait_log(r"debug router_choice .*deployment=bad strategy=simple-shuffle why=\"the strategy's choice\" candidates=2")
    server.wait_log(r"debug router_failure .*deployment=bad class=InternalServer status=500 attempt=1 cooling_down_s=(60|59)\.")
    server.wait_log(r"debug router_choice .*deployment=good .*why=\"the only one left\" candidates=1 cooling_down=1")
    assert "secret prompt" not in server.log and "upstream_request" not in server.log, "the router's lines alone"
    server = gateway(config(*entries, router=settings(debug_level="INFO", **router)))
    assert server.chat().status_code == 200
    server.wait_log("request .*status=200")
    assert "router_choice" not in server.log


def test_router_set_verbose(gateway, upstream):
    server = gateway(config(entry("m", upstream), router=settings(set_verbose=True)))
    assert server.chat().status_code == 200
    server.wait_log("debug router_choice")
    server.wait_log("router_settings.set_verbose.*router_settings.debug_level: DEBUG")


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
    until = time.monotonic() + 10
    while not (rows := [row for row in server.client.get("/spend/logs", headers={"authorization": f"Bearer {KEY}"}).json() if row["cache_hit"] == "True"]):
        assert time.monotonic() < until
        time.sleep(0.1)
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


# Models that are in no group

def test_router_general_settings_pass_through_all_models(gateway, upstreams):
    own, groq, openai = upstreams(), upstreams(), upstreams()
    env = {"GROQ_API_KEY": "sk-groq-env", "GROQ_API_BASE": groq.url + "/v1", "OPENAI_API_KEY": "sk-openai-env",
           "OPENAI_BASE_URL": openai.url + "/v1"}
    made = config(entry("m", own), router=settings(router_general_settings={"pass_through_all_models": True}), general={"master_key": KEY})
    server = gateway(made, env=env)
    for model, up, sent, key in (("m", own, "upstream-model", "sk-upstream-key"), ("groq/llama-x", groq, "llama-x", "sk-groq-env"),
                                 ("openai/gpt-new", openai, "gpt-new", "sk-openai-env"), ("gpt-newer", openai, "gpt-newer", "sk-openai-env")):
        answer = server.chat(model, key=KEY)
        assert answer.status_code == 200, answer.text
        assert up.last.json["model"] == sent and up.last.header("authorization") == f"Bearer {key}"
    assert server.chat("mistral/none", key=KEY).status_code == 400, "no credentials of that provider"
    listed = [row["id"] for row in server.client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"}).json()["data"]]
    assert listed == ["m"]
    info = server.client.get("/model/info", headers={"authorization": f"Bearer {KEY}"}).json()["data"]
    assert [row["model_name"] for row in info] == ["m"]
    key = server.post("/key/generate", {"models": ["m"]}, key=KEY).json()["key"]
    assert server.chat("gpt-newer", key=key).status_code == 403
    server = gateway(config(entry("m", own)), env=env)
    assert server.chat("gpt-newer").status_code == 400, "it is off by default"

"""What a deployment may carry (rpm, tpm, calls at once), the queue in front of it, and the budget of retries."""

import threading
import time

import pytest

from gateway import config, entry, request
from routing import FAILS, many, settings, slow


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


@pytest.mark.alone("requests 80 ms apart arrive in that order")
def test_default_priority(gateway, upstream):
    upstream.answer(slow(0.4))
    server = gateway(config(entry("m", upstream, max_parallel_requests=1), router=settings(default_priority=5)), "--num_workers", 2)
    threads = []

    def ask(content, **body):
        thread = threading.Thread(target=lambda: server.chat(content=content, **body))
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


@pytest.mark.alone("requests 40 ms apart arrive in that order")
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


@pytest.mark.alone("a wait of 0.5 s ends within 1.5 s")
def test_a_request_that_waits_too_long_gets_429(gateway, upstream):
    upstream.answer(slow(2))
    server = gateway(config(entry("m", upstream, max_parallel_requests=1), router=settings(timeout=5)))
    first = threading.Thread(target=lambda: server.chat())
    first.start()
    upstream.wait(1)
    with server.new_client() as client:
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
    # A window ends on a hundredth of a second, the next one; seconds are rounded up.
    assert 50 <= int(answer.headers["retry-after"]) <= 61, "the cooldown ends first, but its window of rpm is used up too"


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
        running = threading.Thread(target=lambda: server.chat("named"))
        running.start()
        named.wait(1)
    before = len(named.requests)
    answer = server.chat("named", content="word " * 200 if fault == "window" else "hi", tags=["free"] if fault == "tags" else [], timeout=0.4)
    assert answer.status_code == status, answer.text
    if running:
        running.join()
    assert len(named.requests) == before and not other.requests


@pytest.mark.alone("turned away within half a second")
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


def test_enforce_model_rate_limits(gateway, upstream):
    server = gateway(config(entry("m", upstream, rpm=3), router=settings(enforce_model_rate_limits=False)))
    assert many(server, 20) == {200: 20}, "rpm is only a share then"
    server = gateway(config(entry("m", upstream, rpm=3), router=settings(enforce_model_rate_limits=True)))
    assert many(server, 20) == {200: 3, 429: 17}


@pytest.mark.alone("turned away within half a second")
def test_disable_retry_on_max_parallel_request_limit_error(gateway, upstream):
    upstream.answer(slow(1))
    made = config(entry("m", upstream, max_parallel_requests=1), router=settings(),
                  general={"disable_retry_on_max_parallel_request_limit_error": True})
    server = gateway(made)
    first = threading.Thread(target=lambda: server.chat())
    first.start()
    upstream.wait(1)
    began = time.monotonic()
    with server.new_client() as client:
        answer = client.post("/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert answer.status_code == 429 and time.monotonic() - began < 0.5
    first.join()

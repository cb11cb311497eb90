"""routing_strategy and its arguments: which of several deployments gets how many calls."""

import pytest

import canned
from gateway import config, entry
from mock import Answer, Stream
from routing import FAILS, WELL, many, settings, slow


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


def test_custom_routing_strategy_path(gateway, upstreams):
    ups = [upstreams(), upstreams()]
    made = config(*[entry("m", up) for up in ups], router=settings(routing_strategy="custom", custom_routing_strategy_path="my_router.strategy"))
    server = gateway(made)
    server.wait_log("custom_routing_strategy_path.*not in force yet; simple-shuffle serves")
    assert many(server, 20) == {200: 20}

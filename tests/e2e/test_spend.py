"""What calls cost, and that each is written down once, whatever becomes of the process."""

import hashlib
import sqlite3
import time

from gateway import KEY, config, entry, request
from mock import Hang

PRICES = {"input_cost_per_token": 0.0000025, "output_cost_per_token": 0.00001}


def priced(upstream):
    made = entry("m", upstream)
    made["model_info"] = {**made.get("model_info", {}), **PRICES}
    return config(made, general={"master_key": KEY, "proxy_batch_write_at": 0.1})


def cost(usage):
    return usage["prompt_tokens"] * 0.0000025 + usage["completion_tokens"] * 0.00001


def days(server, key, count, seconds=10):
    """Requests and dollars of a key by the days' sums, as soon as there are `count`. (Rows are named
    by the answer's id, which the mock repeats.)"""
    path, deadline = server.folder / "shardgate.db", time.monotonic() + seconds
    while True:
        with sqlite3.connect(path) as database:
            found = database.execute(
                'select coalesce(sum(api_requests), 0), sum(spend) from "LiteLLM_DailyUserSpend"'
                " where api_key = ?", (hashlib.sha256(key.encode()).hexdigest(),)).fetchone()
        if found[0] >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_x_litellm_response_cost(gateway, upstream):
    server = gateway(priced(upstream))
    answer = server.chat(key=KEY)
    shown = float(answer.headers["x-litellm-response-cost"])
    assert abs(shown - cost(answer.json()["usage"])) < 1e-12


def test_every_call_counts_once_over_kills(gateway, upstream):
    configuration = priced(upstream)
    server = gateway(configuration)
    key = server.post("/key/generate", {}, key=KEY).json()["key"]
    made = 0
    for _ in range(3):
        expected = sum(cost(server.chat(key=key).json()["usage"]) for _ in range(4))
        made += 4
        server.process.kill()
        server.process.wait(10)
        server = gateway(configuration)
    days(server, key, made)
    time.sleep(0.3)
    requests, spend = days(server, key, made)
    assert requests == made
    assert abs(spend - 3 * expected) < 1e-9
    with sqlite3.connect(server.folder / "shardgate.db") as database:
        (total,) = database.execute('select spend from "LiteLLM_VerificationToken" where token = ?',
                                    (hashlib.sha256(key.encode()).hexdigest(),)).fetchone()
    assert abs(total - 3 * expected) < 1e-9


def test_a_call_that_is_under_way_has_a_place(gateway, upstream):
    """A small ring has room for few calls at once: the others get 503, and of those under way each has a
    row when the process is killed."""
    upstream.answer(Hang())
    environment = {"SHARDGATE_RING_BYTES": str(16 * 4096)}
    configuration = priced(upstream)
    server = gateway(configuration, "--num_workers", "1", env=environment)
    key = server.post("/key/generate", {}, key=KEY).json()["key"]
    body = request({"model": "m", "messages": [{"role": "user", "content": "hi"}]}, headers=[("authorization", f"Bearer {key}")])
    clients = [server.connect() for _ in range(40)]
    for client in clients:
        client.send(body)
    until = time.monotonic() + 10
    while len(upstream.requests) < 15 and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)
    under_way = len(upstream.requests)
    assert under_way == 15, "as many as the ring has room for"
    refused = 0
    for client in clients:
        client.sock.settimeout(0.2)
        try:
            status, _, body = client.answer()
        except TimeoutError:
            continue
        assert status == 503 and b"SHARDGATE_RING_BYTES" in body
        refused += 1
    assert refused == 40 - under_way
    server.process.kill()
    server.process.wait(10)
    server = gateway(configuration, "--num_workers", "1", env={"SHARDGATE_RING_BYTES": str(64 * 4096)})
    days(server, key, under_way)
    time.sleep(0.3)
    with sqlite3.connect(server.folder / "shardgate.db") as database:
        rows = database.execute("select status, metadata from \"LiteLLM_SpendLogs\" where api_key = ?",
                                (hashlib.sha256(key.encode()).hexdigest(),)).fetchall()
    died = [row for row in rows if "GatewayDied" in row[1]]
    assert len(died) == under_way and {row[0] for row in died} == {"failure"}

"""Limits over a fleet, in figures: four gateways of two shards on one Redis, ten limits of every kind, five
times the load, unevenly spread. Each limit must admit between 0.98 and 1.01 of itself in its window,
and calls at once must never pass theirs.

    tests/e2e/run --script fleet_limits.py [--scale 1.0] [--times 5]
    tests/e2e/run --script fleet_limits.py --pause 90

With --pause Redis is paused for so long under load, then killed: no call may fail, and the 99th percentile
may grow by 5 ms. Load and upstream are shardgate-bench (beside the gateway's binary, or $SHARDGATE_BENCH), at a
rate that the machine has room for; the figure is the median over windows of seconds, those before, between and
after the troubles against those within, so that one hiccup of a shared machine says nothing."""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import canned
import gateway as gateways
import mock
import postgres
import redis_server
from gateway import KEY, Gateway, config, entry

# Who gets how much of the load, of four.
UNEVEN = [12, 4, 3, 1]
TOKENS = canned.chat("hello")["usage"]["total_tokens"]
# With --pause: calls a second over all instances, seconds of a window, and how much the 99th percentile may grow.
RATE, WINDOW_S, ADDED_MS_MAX = 200, 3, 5.0


class Parallel(mock.Answer):
    """Takes a while, and knows how many run at once."""

    def __init__(self, **how):
        super().__init__(body=canned.chat("hello"), **how)
        self.running = self.most = 0

    def play(self, connection, request):
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.05)
        self.running -= 1
        return super().play(connection, request)


def limits(server, scale):
    """(name, key, body, limit in calls), one for each of ten limits."""
    def post(path, body):
        answer = server.post(path, body, key=KEY)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def key(**body):
        return post("/key/generate", body)["key"]

    n = lambda count: int(count * scale)
    team = post("/team/new", {"rpm_limit": n(300)})["team_id"]
    team_tokens = post("/team/new", {"tpm_limit": n(250) * TOKENS})["team_id"]
    post("/user/new", {"user_id": "u", "auto_create_key": False, "rpm_limit": n(200)})
    post("/budget/new", {"budget_id": "b", "rpm_limit": n(150), "max_budget": 1e6})
    organization = post("/organization/new", {"organization_alias": "o", "budget_id": "b", "models": ["m"]})
    organization = organization["organization_id"]
    in_organization = post("/team/new", {"organization_id": organization})["team_id"]
    post("/customer/new", {"user_id": "customer", "budget_id": "b"})
    return [
        ("key rpm", key(rpm_limit=n(400)), {}, n(400)),
        ("key rpm, small", key(rpm_limit=n(100)), {}, n(100)),
        ("key tpm", key(tpm_limit=n(300) * TOKENS), {}, n(300)),
        ("team rpm", key(team_id=team), {}, n(300)),
        ("team tpm", key(team_id=team_tokens), {}, n(250)),
        ("user rpm", key(user_id="u"), {}, n(200)),
        ("organization rpm", key(team_id=in_organization), {}, n(150)),
        ("end user rpm", key(), {"user": "customer"}, n(150)),
        ("model of a key rpm", key(model_rpm_limit={"m": n(200)}), {}, n(200)),
        ("deployment rpm", key(), {"model": "limited"}, n(200)),
    ]


async def call(streams, server, key, body):
    """One call over a kept connection; its status."""
    reader, writer = streams.get(server.port) or await asyncio.open_connection("127.0.0.1", server.port)
    streams[server.port] = (reader, writer)
    data = json.dumps({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], **body}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer %s\r\ncontent-type: "
                 b"application/json\r\ncontent-length: %d\r\n\r\n%s" % (key.encode(), len(data), data))
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().index(b"\r\ncontent-length: ") + 18
    await reader.readexactly(int(head[at:head.index(b"\r", at)]))
    return int(head[9:12])


async def press(servers, key, body, count, seconds):
    """`count` calls, evenly over time and unevenly over the servers; how many were let in, and what else."""
    order = [server for server, weight in zip(servers, UNEVEN) for _ in range(weight)]
    admitted, other, began = 0, {}, time.monotonic()
    streams = [{} for _ in range(4)]

    async def worker(index):
        nonlocal admitted
        for number in range(index, count, 4):
            await asyncio.sleep(max(0.0, began + number * seconds / count - time.monotonic()))
            status = await call(streams[index], order[number * 7 % len(order)], key, body)
            if status == 200:
                admitted += 1
            else:
                other[status] = other.get(status, 0) + 1

    await asyncio.gather(*(worker(index) for index in range(4)))
    return admitted, other, time.monotonic() - began


async def at_once(servers, key, limit, seconds):
    streams, until, served = {}, time.monotonic() + seconds, 0

    async def worker(index):
        nonlocal served
        mine = {}
        while time.monotonic() < until:
            status = await call(mine, servers[[0, 0, 0, 1, 1, 2, 3][index % 7]], key, {"model": "slow"})
            served += status == 200
            if status != 200:
                await asyncio.sleep(0.01)

    await asyncio.gather(*(worker(index) for index in range(limit * 5)))
    return served


def bench(*arguments):
    binary = os.environ.get("SHARDGATE_BENCH") or str(Path(gateways.BINARY).parent / "shardgate-bench")
    return subprocess.Popen([binary, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def window(servers, key):
    """Calls, failures, and the 99th percentile in milliseconds of some seconds of load on all."""
    loads = [bench("load", "--target", f"127.0.0.1:{server.port}", "--model", "m", "--key", key, "--lenient", "--json",
                   "--rate", RATE / len(servers), "--connections", 16, "--duration", WINDOW_S) for server in servers]
    figures = []
    for load in loads:
        text = load.communicate()[0]
        assert "{" in text, text
        figures.append(json.loads(text[text.index("{"):text.rindex("}") + 1]))
    failed = sum(sum(one["errors"].values()) for one in figures)
    if failed:
        print(next(one["error_sample"] for one in figures if one["errors"]))
    return sum(one["requests"] for one in figures), failed, statistics.median(one["latency_us"]["p99"] for one in figures) / 1000


def troubled(servers, redis, key, seconds):
    """Windows while Redis is well, paused, well again, killed, and well again."""
    found = {"well": [], "paused": [], "killed": []}

    def go_on(phase, count):
        found[phase] += [window(servers, key) for _ in range(count)]

    few = 4
    window(servers, key)
    go_on("well", few)
    began = time.monotonic()
    redis.cli("client", "pause", int(seconds * 1000))
    while time.monotonic() - began < seconds - WINDOW_S:
        go_on("paused", 1)
    time.sleep(max(0.0, began + seconds + 3 - time.monotonic()))
    go_on("well", few)
    redis.kill()
    go_on("killed", 2 * few)
    redis.start()
    time.sleep(3)
    go_on("well", few)
    wrong, well = 0, statistics.median(p99 for _, _, p99 in found["well"])
    for phase, windows in found.items():
        calls, failed = sum(one[0] for one in windows), sum(one[1] for one in windows)
        p99s = sorted(one[2] for one in windows)
        added = statistics.median(p99s) - well
        good = not failed and added <= ADDED_MS_MAX and calls > 0.9 * RATE * WINDOW_S * len(windows)
        wrong += not good
        print(f"Redis {phase}: {calls} calls in {len(windows)} windows, {failed} failed, p99 {statistics.median(p99s):.2f} ms "
              f"({p99s[0]:.2f} to {p99s[-1]:.2f}), added {added:+.2f} ms{'' if good else '  WRONG'}")
    return wrong


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--scale", type=float, default=1.0)
    arguments.add_argument("--times", type=float, default=5.0)
    arguments.add_argument("--seconds", type=float, default=50.0)
    arguments.add_argument("--pause", type=float, default=0, help="seconds for which Redis is paused, in place of the limits")
    asked = arguments.parse_args()
    database, redis, upstream, slow = postgres.Postgres(), redis_server.Redis(), mock.Upstream(), mock.Upstream()
    parallel = Parallel()
    slow.answer(parallel)
    entries = [entry("m", upstream), entry("slow", slow), entry("limited", upstream, rpm=int(200 * asked.scale))]
    general = {"master_key": KEY, "database_url": database.url, "access_log": False}
    quick = gateways.free_port()
    host = bench("upstream", "--port", quick) if asked.pause else None
    if asked.pause:
        entries = [entry("m", f"http://127.0.0.1:{quick}/v1", model="openai/mock-chat")]
    made = config(*entries, general=general, router={"redis_host": "127.0.0.1", "redis_port": redis.port})
    servers = [Gateway(made, "--num_workers", "2", folder=tempfile.mkdtemp(prefix="shardgate-limits-"), wait=False) for _ in UNEVEN]
    wrong = 0
    try:
        for server in servers:
            server.wait_ready(120).wait_log("limits are agreed", seconds=60)
        time.sleep(1)
        if asked.pause:
            wide = {"rpm_limit": 10_000_000, "tpm_limit": 1_000_000_000, "max_parallel_requests": 1000, "max_budget": 1e6}
            key = servers[0].post("/key/generate", wide, key=KEY).json()["key"]
            return troubled(servers, redis, key, asked.pause)
        cases = limits(servers[0], asked.scale)

        async def run():
            work = [press(servers, key, body, int(limit * asked.times), asked.seconds) for _, key, body, limit in cases]
            return await asyncio.gather(*work)

        for (name, _, _, limit), (admitted, other, seconds) in zip(cases, asyncio.run(run())):
            good = 0.98 * limit <= admitted <= 1.01 * limit and set(other) <= {429} and seconds < 59
            wrong += not good
            print(f"{name:20} limit {limit:5}  admitted {admitted:5}  {admitted / limit:.3f}  others {other} "
                  f"in {seconds:.0f} s{'' if good else '  WRONG'}")
        key = servers[0].post("/key/generate", {"max_parallel_requests": 8}, key=KEY).json()["key"]
        served = asyncio.run(at_once(servers, key, 8, 10))
        print(f"at once: most {parallel.most} of 8, {served} calls served in 10 s")
        wrong += parallel.most > 8
    finally:
        for server in servers:
            server.process.kill()
        if host:
            host.kill()
        upstream.stop()
        slow.stop()
        database.close()
        redis.close()
    print("all limits hold" if not wrong else f"{wrong} do not hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

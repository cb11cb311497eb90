"""Limits over a fleet, in figures: four gateways of two shards on one Redis, ten limits of every kind, five
times the load, unevenly spread. Each limit must admit between 0.98 and 1.01 of itself in its window,
and calls at once must never pass theirs.

    tests/e2e/run --script fleet_limits.py [--scale 1.0] [--times 5]
    tests/e2e/run --script fleet_limits.py --pause 90

With --pause Redis is paused for so long under load, then killed: no call may fail, and hardly one may
wait."""

import argparse
import asyncio
import json
import sys
import tempfile
import time

import canned
import gateway as gateways
import mock
import postgres
import redis_server
from gateway import KEY, Gateway, config, entry

# Who gets how much of the load, of four.
UNEVEN = [12, 4, 3, 1]
TOKENS = canned.chat("hello")["usage"]["total_tokens"]


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


async def troubled(servers, redis, key, seconds):
    """Latencies and failures while Redis is well, paused, well again, killed."""
    times, failed, phase = {}, {}, "well"
    done = False

    async def worker(index):
        streams = {}
        while not done:
            at, began = phase, time.monotonic()
            status = await call(streams, servers[index % len(servers)], key, {})
            times.setdefault(at, []).append((time.monotonic() - began) * 1000)
            if status != 200:
                failed[at] = failed.get(at, 0) + 1
            await asyncio.sleep(0.01)

    workers = [asyncio.ensure_future(worker(index)) for index in range(8)]
    await asyncio.sleep(10)
    phase = "paused"
    redis.cli("client", "pause", int(seconds * 1000))
    await asyncio.sleep(seconds)
    phase = "back"
    await asyncio.sleep(5)
    phase = "killed"
    redis.kill()
    await asyncio.sleep(10)
    redis.start()
    phase = "back again"
    await asyncio.sleep(5)
    done = True
    await asyncio.gather(*workers)
    wrong = 0
    quiet = sorted(times["well"])[int(len(times["well"]) * 0.99)]
    for phase, all_ms in times.items():
        p99 = sorted(all_ms)[int(len(all_ms) * 0.99)]
        print(f"Redis {phase}: {len(all_ms)} calls, {failed.get(phase, 0)} failed, p99 {p99:.1f} ms ({p99 - quiet:+.1f})")
        wrong += failed.get(phase, 0) > 0
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
    made = config(*entries, general=general, router={"redis_host": "127.0.0.1", "redis_port": redis.port})
    servers = [Gateway(made, "--num_workers", "2", folder=tempfile.mkdtemp(prefix="shardgate-limits-")) for _ in UNEVEN]
    wrong = 0
    try:
        for server in servers:
            server.wait_log("limits are agreed")
        time.sleep(1)
        if asked.pause:
            wide = {"rpm_limit": 10_000_000, "tpm_limit": 1_000_000_000, "max_parallel_requests": 1000, "max_budget": 1e6}
            key = servers[0].post("/key/generate", wide, key=KEY).json()["key"]
            return asyncio.run(troubled(servers, redis, key, asked.pause))
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
        upstream.stop()
        slow.stop()
        database.close()
        redis.close()
    print("all limits hold" if not wrong else f"{wrong} do not hold")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

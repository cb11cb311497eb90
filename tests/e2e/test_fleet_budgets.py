"""Budgets that several instances share while one of them, or all, cannot reach Redis: what is left is read from
the database then, and all together do not pass it by more than one request."""

import socket
import threading
import time

import pytest

import canned
import redis_server
from gateway import KEY, config, entry, eventually, free_port, made_key
from test_fleet import PRICE, agreed, one_after_another, place, redis  # noqa: F401 (fixture)

# One call, in dollars: its worst case is little above it.
ONE = sum(canned.chat("hello")["usage"][part] for part in ("prompt_tokens", "completion_tokens")) * PRICE


@pytest.fixture(params=["key", "team", "model"])
def payer(request):
    """payer(server, calls): a key of which so many calls can be paid, by a budget of this kind."""
    def made(server, calls):
        budget = calls * ONE
        if request.param == "key":
            return made_key(server, max_budget=budget)
        if request.param == "model":
            return made_key(server, model_max_budget={"m": {"budget_limit": budget, "time_period": "30d"}})
        team = server.post("/team/new", {"max_budget": budget}, key=KEY).json()["team_id"]
        return made_key(server, team_id=team)

    return made


@pytest.fixture
def start(database, upstream, gateway):
    """start(router_settings): a gateway that writes what was spent soon, and reads no key twice."""
    def made(router):
        general = {"master_key": KEY, "database_url": database.url, "proxy_batch_write_at": 0.1, "user_api_key_cache_ttl": 3600}
        one = entry("m", upstream, input_cost_per_token=PRICE, output_cost_per_token=PRICE)
        return gateway(config(one, general=general, router=router), "--num_workers", "2")

    return made


class Way:
    """A way to Redis that can be cut for who takes it alone."""

    def __init__(self, port):
        self.to, self.port, self.is_cut, self.ends = port, free_port(), False, []
        self.door = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.door.accept()
            except OSError:
                return
            if self.is_cut:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.to))
            self.ends += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    def cut(self):
        self.is_cut = True
        for end in self.ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.cut()
        self.door.close()


def recorded(database, calls):
    """Waits until so many calls stand in the database."""
    count = 'select count(*) from "LiteLLM_SpendLogs" where status = \'success\''
    eventually(lambda: int(database.query(count)[0][0]) >= calls, why="the calls were never written down")


def spend(servers, key, count):
    """So many calls in turn: a slow machine may miss Redis for a moment, and then refuse what is nearly spent."""
    served, until = 0, time.monotonic() + 30
    while served < count and time.monotonic() < until:
        served += one_after_another([servers[served % len(servers)]], key, 1)[0]
    assert served == count
    return served


def without_redis(redis, servers):
    starts = [len(server.log) for server in servers]
    redis.kill()
    for server, at in zip(servers, starts):
        server.wait_log("redis .*away", start=at)


def spend_slowly(servers, key, seconds, pause=0.05):
    """Calls in turn for so long; how many were served, and the statuses of the others."""
    served, others, until = [0] * len(servers), [], time.monotonic() + seconds
    while time.monotonic() < until:
        for at, server in enumerate(servers):
            used, refused = one_after_another([server], key, 1)
            served[at] += used
            others += [answer.status_code for answer in refused]
        time.sleep(pause)
    print(f"{served} calls were served, {len(others)} refused")
    return sum(served), others


def test_budgets_while_redis_is_away_by_an_instance_that_has_not_used_them(start, database, redis, payer):  # noqa: F811
    servers = [start(place(redis)) for _ in range(3)]
    agreed(servers)
    wide, narrow = payer(servers[0], 1000), payer(servers[0], 20)
    # All know the keys; the last has never spent of the budgets.
    spend(servers[:2], wide, 4)
    spent = spend(servers[:2], narrow, 19)
    assert servers[2].chat(key=narrow, model="none").status_code == 400
    recorded(database, 23)
    without_redis(redis, servers)
    assert one_after_another(servers[2:], wide, 30)[0] == 30, "no call fails that is well within the budget"
    used, others = one_after_another(servers, narrow, 30)
    print(f"{used} calls of the last one")
    assert spent + used <= 21
    assert {answer.status_code for answer in others} <= {503, 422}


def test_budgets_while_redis_is_away_by_an_instance_that_is_started_then(start, database, redis, payer):  # noqa: F811
    servers = [start(place(redis)) for _ in range(2)]
    agreed(servers)
    wide, narrow = payer(servers[0], 1000), payer(servers[0], 60)
    spent = spend(servers, narrow, 30)
    spend(servers, wide, 4)
    recorded(database, 34)
    without_redis(redis, servers)
    servers += [start(place(redis)) for _ in range(2)]
    assert one_after_another(servers, wide, 80)[0] == 80
    used, others = spend_slowly(servers, narrow, 10)
    # A tenth of a budget and what is too little for all stay untouched until they can agree.
    assert 12 <= used <= 31
    assert set(others) <= {503, 422}
    starts = [len(server.log) for server in servers]
    redis.start()
    agreed(servers, starts)
    spent += used
    until = time.monotonic() + 20
    while spent < 60 and time.monotonic() < until:
        spent += one_after_another(servers, narrow, 4)[0]
    assert 60 <= spent <= 61


def test_budgets_while_one_instance_alone_cannot_reach_redis(start, database, redis, payer):  # noqa: F811
    way = Way(redis.port)
    try:
        lone = start({"redis_host": "127.0.0.1", "redis_port": way.port})
        servers = [lone, start(place(redis)), start(place(redis))]
        agreed(servers)
        wide, narrow = payer(servers[1], 1000), payer(servers[1], 60)
        spent = spend(servers, narrow, 30)
        spend(servers, wide, 6)
        recorded(database, 36)
        way.cut()
        lone.wait_log("redis .*away")
        assert one_after_another(servers, wide, 60)[0] == 60
        time.sleep(1.5)
        used, others = spend_slowly(servers, narrow, 12, pause=0.3)
        assert 29 <= used <= 31
        assert set(others) <= {503, 422}
        at = len(lone.log)
        way.is_cut = False
        lone.wait_log("limits are agreed", seconds=20, start=at)
        time.sleep(0.7)
        assert spent + used + one_after_another(servers, narrow, 12)[0] <= 61
        assert one_after_another(servers, wide, 60)[0] == 60
    finally:
        way.close()

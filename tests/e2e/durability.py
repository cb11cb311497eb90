"""Every call is written down once, whatever dies. Two gateways, one Postgres and one Redis under load;
one of them is killed (-9) at random every few seconds. Afterwards the rows are compared with the
upstream's own log and every table's sums with the rows.

    tests/e2e/run --script durability.py --requests 100000
    tests/e2e/run --script durability.py --outage 300     (Postgres away for so long, nothing killed)

Each call that the upstream has served has exactly one row. One that its gateway's death cut in the
middle, after it had gone out and before its record was written, has the row of a failure instead
(GatewayDied) with the cost of its estimated prompt; one that died on its way to the upstream may have
such a row too."""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

import gateway as gateways
import postgres
import redis_server
from gateway import KEY, Gateway, config, entry

# Dollars per token, in units of 1e-7: sums are whole numbers.
INPUT, OUTPUT = 25, 100
# Calls when Postgres is back.
AFTER = 2000
AGAIN = 50  # every so many answers repeat one id
# Seconds that anything may take to come up again: a busy machine is not what is looked at here.
PATIENCE = 180


def tokens(number):
    return 1 + number % 97, 1 + number % 89


def units(number):
    prompt, completion = tokens(number)
    return prompt * INPUT + completion * OUTPUT


def upstream(port, path):
    """An OpenAI-compatible host that notes each call it has answered, before it answers."""
    log = open(path, "a", buffering=1 << 16)

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                at = head.lower().index(b"\r\ncontent-length: ") + 18
                body = json.loads(await reader.readexactly(int(head[at:head.index(b"\r", at)])))
                number = int(body["messages"][0]["content"])
                prompt, completion = tokens(number)
                name = "chatcmpl-again" if number % AGAIN == 0 else f"chatcmpl-{number}"
                answer = json.dumps({
                    "id": name, "object": "chat.completion", "created": 1, "model": "upstream-model",
                    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
                    "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
                }).encode()
                log.write(f"{number}\n")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                             % (len(answer), answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024)
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, done.set_result, None)
        await done
        log.close()
        os._exit(0)

    asyncio.run(run())


class Load:
    """So many calls over so many connections; which were answered whole, refused, cut."""

    def __init__(self, servers, keys, count):
        self.servers, self.keys, self.count = servers, keys, count
        self.next = 0
        self.answered, self.cut, self.refused = set(), set(), []
        self.last_failure = ""
        self.unknown, self.may_be_unknown = 0, False

    def request(self, number):
        # Neighbours in number go different ways: 7 is prime to the keys.
        key = self.keys[number * 7 % len(self.keys)]
        body = json.dumps({"model": "m", "user": f"customer-{number % 3}",
                           "messages": [{"role": "user", "content": str(number)}]}).encode()
        return (b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer %s\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (key.encode(), len(body), body))

    async def client(self, index):
        reader = writer = None
        while self.next < self.count:
            server = self.servers[(index + self.next) % len(self.servers)] if writer is None else server
            if writer is None:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
            number, self.next = self.next, self.next + 1
            try:
                writer.write(self.request(number))
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
                status = int(head[9:12])
                at = head.lower().index(b"\r\ncontent-length: ") + 18
                body = await reader.readexactly(int(head[at:head.index(b"\r", at)]))
                if status == 200:
                    self.answered.add(number)
                elif self.may_be_unknown and b"no_db_connection" in body:
                    # Started anew while Postgres is away, a gateway knows nobody.
                    self.unknown += 1
                else:
                    self.refused.append(status)
                    self.last_failure = body.decode()[:300]
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.TimeoutError):
                self.cut.add(number)
                writer.close()
                writer = None
        if writer:
            writer.close()

    async def run(self, connections):
        await asyncio.gather(*(self.client(index) for index in range(connections)))


def settings(database, redis, port):
    made = entry("m", f"http://127.0.0.1:{port}/v1", input_cost_per_token=INPUT * 1e-7, output_cost_per_token=OUTPUT * 1e-7)
    general = {"master_key": KEY, "database_url": database.url, "proxy_batch_write_at": 0.5, "access_log": False,
               "database_connection_timeout": 2, "user_api_key_cache_ttl": 3600, "background_health_checks": False}
    return config(made, general=general, router={"redis_host": "127.0.0.1", "redis_port": redis.port, "num_retries": 0,
                                                 "disable_cooldowns": True})


def callers(server):
    """Keys of every kind: of a team, of a user, of a member, of nobody; with limits and budgets."""
    def post(path, body):
        answer = server.post(path, body, key=KEY)
        assert answer.status_code == 200, answer.text
        return answer.json()

    team = post("/team/new", {"team_alias": "t", "max_budget": 1e6})["team_id"]
    post("/user/new", {"user_id": "u", "auto_create_key": False, "max_budget": 1e6})
    post("/team/member_add", {"team_id": team, "member": {"role": "user", "user_id": "u"}})
    wide = {"rpm_limit": 10_000_000, "tpm_limit": 1_000_000_000, "max_parallel_requests": 1000, "max_budget": 1e6}
    bodies = [{"team_id": team}, {"user_id": "u"}, {"team_id": team, "user_id": "u"}, {}, {"tags": ["blue"]}]
    return [post("/key/generate", {**wide, **body})["key"] for body in bodies]


def killed_postgres(database):
    """kill -9 of the postmaster and all its children, and a start that waits for them to be gone."""
    data = database.folder / "data"
    database.process.kill()
    database.process.wait(PATIENCE)
    # They work in the data folder, whoever their parent is by now.
    until = time.monotonic() + 30
    while left := [path for path in Path("/proc").glob("[0-9]*") if works_in(path, data)]:
        assert time.monotonic() < until, f"{left} do not end"
        for path in left:
            try:
                os.kill(int(path.name), signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.1)
    time.sleep(random.uniform(0.2, 1.5))
    (data / "postmaster.pid").unlink(missing_ok=True)
    database.start(PATIENCE)


def anonymous_kib(server):
    """Memory but for the rings' mapped files, whose pages count as they are used in turn."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


def works_in(process, folder):
    try:
        return (process / "cwd").resolve() == folder and not (process / "stat").read_text().rpartition(")")[2].startswith(" Z")
    except OSError:
        return False


async def chaos(load, database, redis, servers, seed):
    rng = random.Random(seed)
    kills = {"postgres": 0, "redis": 0, "gateway": 0}
    loop = asyncio.get_running_loop()
    while load.next < load.count:
        await asyncio.sleep(rng.uniform(1.0, 4.0))
        what = rng.choice(["postgres", "redis", "gateway", "gateway"])
        kills[what] += 1
        if what == "postgres":
            await loop.run_in_executor(None, killed_postgres, database)
        elif what == "redis":
            redis.kill()
            await asyncio.sleep(rng.uniform(0.1, 1.5))
            await loop.run_in_executor(None, redis.start, PATIENCE)
        else:
            at = rng.randrange(len(servers))
            servers[at].process.kill()
            servers[at].process.wait(PATIENCE)
            again = await loop.run_in_executor(None, start_again, servers[at])
            servers[at] = again
    return kills


def start_again(old):
    old.client.close()
    made = Gateway(old.path.read_text(), "--num_workers", "2", folder=old.folder, port=old.port, env=old.environment, wait=False)
    made.environment = old.environment
    try:
        return made.wait_ready(PATIENCE)
    except BaseException:
        made.process.kill()
        raise


def is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def start(configuration, name, started):
    """A gateway that `started` ends, also where it never gets ready."""
    folder = tempfile.mkdtemp(prefix=f"shardgate-{name}-")
    environment = {"SHARDGATE_LEDGER_FOLDER": f"{folder}/ledger"}
    # Below the range that connections take their own ports from: it is bound again after a kill.
    port = next(port for port in random.sample(range(12_000, 30_000), 100) if is_free(port))
    made = Gateway(configuration, "--num_workers", "2", folder=folder, env=environment, port=port, wait=False)
    started.callback(made.process.kill)
    made.wait_ready(PATIENCE)
    made.environment = environment
    return made


Gateway.environment = None


def settled(database, wanted, seconds):
    """Waits until the number of rows has not changed for some seconds."""
    count, since, until = -1, time.monotonic(), time.monotonic() + seconds
    while time.monotonic() < until:
        now = int(database.query('select count(*) from "LiteLLM_SpendLogs"')[0][0])
        if now != count:
            count, since = now, time.monotonic()
        if time.monotonic() - since > (3 if count >= wanted else 12):
            return count
        time.sleep(0.3)
    return count


def compare(database, load, log):
    """Findings, and the figures."""
    served = [int(line) for line in Path(log).read_text().split()]
    rows = database.query('select request_id, spend, prompt_tokens, completion_tokens, metadata->>\'user_api_key\', '
                          'coalesce(team_id, \'\'), "user", end_user, request_tags::text '
                          'from "LiteLLM_SpendLogs" where status = \'success\'')
    died = database.query('select request_id, spend, prompt_tokens, completion_tokens, metadata->>\'user_api_key\', '
                          'coalesce(team_id, \'\'), "user", end_user, request_tags::text from "LiteLLM_SpendLogs" '
                          'where metadata->\'error_information\'->>\'error_class\' = \'GatewayDied\'')
    served_set, findings = set(served), []
    if len(served_set) != len(served):
        findings.append("the upstream answered a number twice")
    named = {int(row[0][9:]) for row in rows if row[0].startswith("chatcmpl-") and row[0] != "chatcmpl-again"}
    others = len(rows) - len(named)
    wanted = {number for number in load.answered if number % AGAIN}
    again = [sum(1 for number in numbers if number % AGAIN == 0) for numbers in (load.answered, served_set)]
    if wanted - named:
        findings.append(f"{len(wanted - named)} answered calls have no row, such as {sorted(wanted - named)[:5]}")
    if named - served_set:
        findings.append(f"{len(named - served_set)} rows were never served")
    if not again[0] <= others <= again[1]:
        findings.append(f"{others} rows of repeated ids; {again[0]} answered, {again[1]} served")
    # Calls before the load (number 0) are in the upstream's log too.
    unwritten = len(served) - len(rows)
    if not 0 <= unwritten <= len(died):
        findings.append(f"{len(served)} calls were served, {len(rows)} have rows, {len(died)} died")
    if len(died) > len(load.cut):
        findings.append(f"{len(died)} rows of calls that died, {len(load.cut)} were cut")
    print(f"served {len(served)} = {len(rows)} rows and {unwritten} of {len(died)} rows of calls that died")
    succeeded = len(rows)
    rows = rows + died
    spent = [round(float(row[1]) * 1e7) for row in rows]
    for row, cost in zip(rows, spent):
        if cost != int(row[2]) * INPUT + int(row[3]) * OUTPUT:
            findings.append(f"row {row[0]} costs {row[1]}")
            break
    total = sum(spent)
    exact = sum(units(number) for number in named) + sum(spent[succeeded:])
    repeated = sum(cost for row, cost in list(zip(rows, spent))[:succeeded]
                   if row[0] == "chatcmpl-again" or not row[0].startswith("chatcmpl-"))
    if total != exact + repeated:
        findings.append(f"rows cost {total}, their calls {exact + repeated}")
    failures = int(database.query('select count(*) from "LiteLLM_SpendLogs" where status = \'failure\'')[0][0])
    team = sum(cost for row, cost in zip(rows, spent) if row[5])
    customers = sum(cost for row, cost in zip(rows, spent) if row[7])
    tables = {
        'sum(spend) from "LiteLLM_VerificationToken"': total,
        'sum(spend) from "LiteLLM_TeamTable"': team,
        'sum(spend) from "LiteLLM_TeamMembership"': sum(c for r, c in zip(rows, spent) if r[5] and r[6] == "u"),
        "spend from \"LiteLLM_UserTable\" where user_id = 'u'": sum(c for r, c in zip(rows, spent) if not r[5] and r[6] == "u"),
        'sum(spend) from "LiteLLM_EndUserTable"': customers,
        'sum(spend) from "LiteLLM_DailyUserSpend"': total,
        'sum(spend) from "LiteLLM_DailyTeamSpend"': team,
        'sum(spend) from "LiteLLM_DailyEndUserSpend"': customers,
        'sum(successful_requests) from "LiteLLM_DailyUserSpend"': succeeded,
        'sum(failed_requests) from "LiteLLM_DailyUserSpend"': failures,
        'sum(prompt_tokens) from "LiteLLM_DailyUserSpend"': sum(int(row[2]) for row in rows),
    }
    for table, wanted_sum in tables.items():
        found = database.query(f"select coalesce({table.replace(' from', ', 0) from', 1)}")[0][0]
        found = round(float(found) * 1e7) if "spend)" in table or table.startswith("spend") else int(float(found))
        print(f"  {table}: {found} (rows: {wanted_sum})")
        if found != wanted_sum:
            findings.append(f"{table} is {found}, the rows' sum {wanted_sum}")
    cut_rows = len({number for number in load.cut} & named)
    print(f"answered {len(load.answered)}, refused {len(load.refused)}, unknown without Postgres {load.unknown}, cut {len(load.cut)} ({cut_rows} with a row); "
          f"served {len(served)}, rows {succeeded}")
    return findings


def proven(asked, database, redis, servers, host, log):
    """What was found wrong: the load, what dies meanwhile, and the rows that it leaves."""
    keys, findings = callers(servers[0]), []
    for server in servers:
        for key in keys:
            assert server.chat(key=key, content="0").status_code == 200
    # With an outage the load lasts as long as it does.
    load = Load(servers, keys, sys.maxsize if asked.outage else asked.requests)
    load.next, load.may_be_unknown = 1, not asked.outage
    began = time.monotonic()
    memory = [anonymous_kib(server) for server in servers]

    async def run():
        if asked.outage:
            return await asyncio.gather(load.run(asked.connections), outage(load, database, servers, asked.outage))
        return await asyncio.gather(load.run(asked.connections),
                                    chaos(load, database, redis, servers, asked.seed))

    async def outage(load, database, servers, seconds):
        await asyncio.sleep(1)
        database.stop()
        print("Postgres is away")
        until, grown, first = time.monotonic() + seconds, [], len(load.refused) + len(load.cut)
        while time.monotonic() < until:
            await asyncio.sleep(1)
            grown.append(max(anonymous_kib(server) for server in servers))
        failed = len(load.refused) + len(load.cut) - first
        database.start(PATIENCE)
        load.count = load.next + AFTER
        print(f"Postgres is back; {load.next} calls, {failed} failed meanwhile; "
              f"memory KiB: {memory} before, {grown[:1]} at first, {max(grown)} at most")
        if failed:
            findings.append(f"{failed} calls failed while Postgres was away: {load.last_failure}")
        settled_kib = grown[min(10, len(grown) - 1)]
        if max(grown) > 1.25 * settled_kib + 8192:
            findings.append(f"memory grew from {settled_kib} to {max(grown)} KiB")

    done = asyncio.run(run())
    seconds = time.monotonic() - began
    print(f"{load.next} calls in {seconds:.0f} s; killed: {done[1]}")
    load.answered.discard(0)
    # Those that named the keys were answered too, ten of them with number 0 (a repeated id).
    warm = len(servers) * len(keys)
    settled(database, len(load.answered) + warm, 180 + len(load.answered) / 500)
    time.sleep(2)
    host.terminate()
    host.join(10)
    served = Path(log).read_text().split()
    Path(log).write_text("\n".join([n for n in served if n != "0"] + [str(-AGAIN * n) for n in range(1, warm + 1)]))
    load.answered |= {-AGAIN * n for n in range(1, warm + 1)}
    findings += compare(database, load, log)
    if load.refused:
        findings.append(f"{len(load.refused)} calls were refused: {load.last_failure}")
    return findings


def stop_all(servers):
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(PATIENCE)
        print(server.folder, subprocess.run(["ls", "-la", f"{server.folder}/ledger", f"{server.folder}/ledger/journal"],
                                            capture_output=True, text=True).stdout)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--requests", type=int, default=5000)
    arguments.add_argument("--connections", type=int, default=16)
    arguments.add_argument("--outage", type=float, default=0, help="seconds without Postgres, nothing killed")
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    asked = arguments.parse_args()
    print(f"seed {asked.seed}")
    findings, servers = [], []
    with contextlib.ExitStack() as started:
        database = started.enter_context(contextlib.closing(postgres.Postgres()))
        redis = started.enter_context(contextlib.closing(redis_server.Redis()))
        port, log = gateways.free_port(), tempfile.mktemp(prefix="shardgate-upstream-")
        host = multiprocessing.Process(target=upstream, args=(port, log), daemon=True)
        host.start()
        started.callback(host.kill)
        started.callback(stop_all, servers)
        configuration = settings(database, redis, port)
        servers += [start(configuration, f"durable-{number}", started) for number in range(2)]
        findings += proven(asked, database, redis, servers, host, log)
    logs = ["".join(path.read_text(errors="replace") for path in sorted(server.folder.glob("log-*"))) for server in servers]
    findings += ["a gateway panicked" for text in logs if "panicked" in text]
    findings += ["a row was refused" for text in logs if "refused a call's row" in text]
    for text in logs if findings else []:
        lines = [line for line in text.splitlines() if " spend " in line or " started " in line or "redis" in line]
        print("--\n" + "\n".join(line[:300] for line in lines[-15:]))
    for finding in findings:
        print(f"WRONG: {finding}")
    print("none lost, none doubled, all sums equal" if not findings else f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

"""Keys that nobody has, as fast as the machine gives: how many questions of them reach Postgres. A known
key is served all the while.

    tests/e2e/run --script unknown_keys.py [--seconds 60] [--processes 2]"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time

import mock
import postgres
from gateway import KEY, Gateway, config, entry

# Unknown keys that may be looked up in a second (another program may write keys into the database).
LOOKUPS_A_SECOND = 20
BURST = 64


def guess(port, seconds, refused):
    """Sends bursts of requests, each with another key; counts the refusals."""
    async def worker():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        until, count = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            words = os.urandom(16 * BURST).hex()
            writer.write(b"".join(
                b"GET /v1/models HTTP/1.1\r\nhost: g\r\nauthorization: Bearer sk-%s\r\n\r\n"
                % words[at * 32:at * 32 + 32].encode() for at in range(BURST)))
            for _ in range(BURST):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 401"), head
                at = head.lower().index(b"\r\ncontent-length: ") + 18
                await reader.readexactly(int(head[at:head.index(b"\r", at)]))
                count += 1
        writer.close()
        return count

    async def run():
        return sum(await asyncio.gather(*(worker() for _ in range(8))))

    count = asyncio.run(run())
    with refused.get_lock():
        refused.value += count


def questions(database):
    """Transactions, and look-ups in the table of keys, as Postgres counts them."""
    time.sleep(1.5)
    row = database.query("select (select xact_commit + xact_rollback from pg_stat_database where datname = current_database()), "
                         "(select idx_scan + seq_scan from pg_stat_user_tables where relname = 'LiteLLM_VerificationToken')")[0]
    return int(row[0]), int(row[1])


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--processes", type=int, default=2)
    asked = arguments.parse_args()
    database, upstream = postgres.Postgres(), mock.Upstream()
    made = config(entry("m", upstream), general={"master_key": KEY, "database_url": database.url, "access_log": False})
    server = Gateway(made, "--num_workers", "2", folder=tempfile.mkdtemp(prefix="shardgate-unknown-"))
    wrong = []
    try:
        key = server.post("/key/generate", {}, key=KEY).json()["key"]
        assert server.chat(key=key).status_code == 200
        first = questions(database)
        time.sleep(10)
        second = questions(database)
        memory, refused = server.memory_kib(), multiprocessing.Value("q", 0)
        processes = [multiprocessing.Process(target=guess, args=(server.port, asked.seconds, refused)) for _ in range(asked.processes)]
        began, served = time.monotonic(), 0
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes):
            served += server.chat(key=key).status_code == 200
            time.sleep(0.2)
        seconds = time.monotonic() - began
        third = questions(database)
        idle = (second[0] - first[0]) / 11.5
        looked = third[1] - second[1]
        print(f"{refused.value} unknown keys in {seconds:.0f} s, {refused.value / seconds * 60:.0f} a minute; {served} calls of a known key")
        print(f"Postgres: {third[0] - second[0]} transactions ({idle:.1f} a second when idle), {looked} looks into the table of keys; "
              f"memory {memory} to {server.memory_kib()} KiB")
        if looked > LOOKUPS_A_SECOND * (seconds + 2) + 20:
            wrong.append(f"{looked} unknown keys reached the database")
        if not refused.value or not served:
            wrong.append("nothing was asked")
    finally:
        server.process.kill()
        upstream.stop()
        database.close()
    for text in wrong:
        print(f"WRONG: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""What keeping accounts costs beside the shards: CPU time per call of the ledger's thread, the store's
and the coordinator's, while calls are written to the store.

    tests/e2e/run --script writing.py [--store sqlite|postgres] [--calls 20000]"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import mock
import postgres
from fleet_limits import call
from gateway import KEY, Gateway, config, entry


def threads(pid):
    """Nanoseconds on a CPU, by name of the thread."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        found[name] = found.get(name, 0) + int((task / "schedstat").read_text().split()[0])
    return found


async def load(server, key, calls):
    async def worker(index):
        streams = {}
        for _ in range(index, calls, 16):
            assert await call(streams, server, key, {"user": "customer"}) == 200

    await asyncio.gather(*(worker(index) for index in range(16)))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    arguments.add_argument("--calls", type=int, default=20_000)
    asked = arguments.parse_args()
    upstream = mock.Upstream()
    database = postgres.Postgres() if asked.store == "postgres" else None
    general = {"master_key": KEY, "access_log": False, "proxy_batch_write_at": 0.2}
    if database:
        general["database_url"] = database.url
    folder = tempfile.mkdtemp(prefix="shardgate-writing-")
    # Answered by the gateway itself: the load is its own.
    made = config(entry("m", upstream, mock_response="hello", input_cost_per_token=1e-6), general=general)
    server = Gateway(made, "--num_workers", "1", folder=folder,
                     env={"SHARDGATE_DATABASE_FILE": f"{folder}/keys.db", "SHARDGATE_LEDGER_FOLDER": f"{folder}/ledger"})
    try:
        body = {"tags": ["blue"], "max_budget": 1000}
        key = server.post("/key/generate", body, key=KEY).json()["key"]
        before = threads(server.process.pid)
        began = time.monotonic()
        asyncio.run(load(server, key, asked.calls))
        loaded = time.monotonic() - began
        spent, head = 0.0, {"authorization": f"Bearer {KEY}"}
        while time.monotonic() - began < 600:
            now = server.client.get(f"/key/info?key={key}", headers=head).json()["info"]["spend"]
            if now and now == spent:
                break
            spent = now
            time.sleep(1.5)
        after = threads(server.process.pid)
        print(f"{asked.store}: {asked.calls} calls in {loaded:.1f} s, spend {spent:.6f}")
        for name in sorted(after):
            us = (after[name] - before.get(name, 0)) / asked.calls / 1000
            if us >= 0.05:
                print(f"  {name:16} {us:7.2f} us of CPU a call")
    finally:
        server.process.kill()
        upstream.stop()
        if database:
            database.close()


if __name__ == "__main__":
    sys.exit(main())

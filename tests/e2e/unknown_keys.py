"""Keys that nobody has, a million a minute by `shardgate-bench load`: how many questions of them reach
Postgres. A known key is served all the while.

    tests/e2e/run --script unknown_keys.py [--seconds 60] [--rate 16700]

The load generator is the one beside the gateway's binary, or $SHARDGATE_BENCH."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gateway as gateways
import mock
import postgres
from gateway import KEY, Gateway, config, entry

# Unknown keys that may be looked up in a second (another program may write keys into the database).
LOOKUPS_A_SECOND = 20


def questions(database):
    """Transactions, and look-ups in the table of keys, as Postgres counts them."""
    time.sleep(1.5)
    row = database.query("select (select xact_commit + xact_rollback from pg_stat_database where datname = current_database()), "
                         "(select idx_scan + seq_scan from pg_stat_user_tables where relname = 'LiteLLM_VerificationToken')")[0]
    return int(row[0]), int(row[1])


def guesses(port, seconds, rate):
    """The load generator at work; each of its answers must be 401."""
    binary = os.environ.get("SHARDGATE_BENCH") or str(Path(gateways.BINARY).parent / "shardgate-bench")
    command = [binary, "load", "--target", f"127.0.0.1:{port}", "--path", "/v1/chat/completions", "--unknown-keys",
               "--connections", "64", "--duration", str(seconds), "--rate", str(rate), "--seed", str(time.time_ns() % 10**9), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--rate", type=float, default=16_700, help="keys a second")
    asked = arguments.parse_args()
    database, upstream = postgres.Postgres(), mock.Upstream()
    made = config(entry("m", upstream), general={"master_key": KEY, "database_url": database.url, "access_log": False})
    server = Gateway(made, "--num_workers", "2", folder=tempfile.mkdtemp(prefix="shardgate-unknown-"), wait=False).wait_ready(120)
    wrong = []
    try:
        key = server.post("/key/generate", {}, key=KEY).json()["key"]
        assert server.chat(key=key).status_code == 200
        first = questions(database)
        time.sleep(10)
        second = questions(database)
        memory, served, began = server.memory_kib(), 0, time.monotonic()
        load = guesses(server.port, asked.seconds, asked.rate)
        while load.poll() is None:
            served += server.chat(key=key).status_code == 200
            time.sleep(0.2)
        seconds, text = time.monotonic() - began, load.stdout.read()
        third = questions(database)
        figures = json.loads(text[text.index("{"):text.rindex("}") + 1])
        refused, idle, looked = figures["requests"], (second[0] - first[0]) / 11.5, third[1] - second[1]
        print(f"{refused} unknown keys in {asked.seconds:.0f} s, {refused / asked.seconds * 60:.0f} a minute, "
              f"errors {figures['errors']}; {served} calls of a known key")
        print(f"Postgres: {third[0] - second[0]} transactions ({idle:.1f} a second when idle), {looked} looks into the table of keys; "
              f"memory {memory} to {server.memory_kib()} KiB")
        if looked > LOOKUPS_A_SECOND * (seconds + 2) + 20:
            wrong.append(f"{looked} unknown keys reached the database")
        if load.returncode:
            wrong.append(f"the load failed: {text[-500:]}")
        if refused < 0.98 * asked.rate * asked.seconds or not served:
            wrong.append(f"only {refused} unknown keys were sent, {served} calls served")
    finally:
        server.process.kill()
        upstream.stop()
        database.close()
    for text in wrong:
        print(f"WRONG: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

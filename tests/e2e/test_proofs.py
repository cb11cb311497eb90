"""Short runs of the long proofs: durability.py and fleet_limits.py say more when run for longer."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import postgres
import redis_server
from gateway import KEY, config, entry

HERE = Path(__file__).parent


def script(name, *arguments):
    if postgres.binaries() is None or not redis_server.installed():
        pytest.skip("no Postgres or no Redis")
    done = subprocess.run([sys.executable, str(HERE / name), *arguments], capture_output=True, text=True, timeout=600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def test_nothing_is_lost_or_doubled_over_kills():
    script("durability.py", "--requests", "6000", "--connections", "4")


def test_database_away():
    script("durability.py", "--requests", "20000", "--connections", "4", "--outage", "10")


def test_limits_over_a_fleet():
    script("fleet_limits.py", "--scale", "0.5")


def test_unknown_keys_do_not_reach_the_database(upstream, gateway):
    try:
        database = postgres.Postgres()
    except FileNotFoundError as missing:
        pytest.skip(f"Postgres: {missing}")
    try:
        server = gateway(config(entry("m", upstream), general={"master_key": KEY, "database_url": database.url}))
        key = server.post("/key/generate", {}, key=KEY).json()["key"]
        assert server.chat(key=key).status_code == 200
        time.sleep(1)

        def looks():
            time.sleep(1.1)  # Postgres tells its counts a moment later
            found = database.query("select coalesce(idx_scan, 0) + coalesce(seq_scan, 0) from pg_stat_user_tables"
                                   " where relname = 'LiteLLM_VerificationToken'")
            return int(found[0][0])

        before, began, count = looks(), time.monotonic(), 4000
        with server.new_client() as client:
            for number in range(count):
                headers = {"authorization": f"Bearer sk-unknown-{number:08}"}
                body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
                assert client.post("/v1/chat/completions", json=body, headers=headers).status_code == 401
        seconds, asked = time.monotonic() - began, looks() - before
        print(f"{count} unknown keys in {seconds:.1f} s: {asked} looks into the table")
        assert asked <= 25 * (seconds + 3)
        assert server.chat(key=key).status_code == 200
    finally:
        database.close()

"""What decides whether and how a call is written down: rows of failures, totals, old rows, the journal
on disk, and TLS to the database."""

import os
import shutil
import subprocess
import time

import pytest

import canned
import postgres
from gateway import KEY, config, entry, eventually, made_key
from mock import Answer, Stream

PRICE = 0.001


@pytest.fixture
def start(store, upstream, gateway):
    def run(**general):
        general = {"master_key": KEY, "proxy_batch_write_at": 0.1, **store, **general}
        made = entry("m", upstream, input_cost_per_token=PRICE, output_cost_per_token=PRICE)
        return gateway(config(made, general=general))

    return run


def rows(server, key, count, seconds=8.0):
    """The key's rows as soon as there are `count`, or what there is."""
    until = time.monotonic() + seconds
    while True:
        found = server.client.get("/spend/logs", params={"api_key": key}, headers={"authorization": f"Bearer {KEY}"}).json()
        if len(found) >= count or time.monotonic() > until:
            return found
        time.sleep(0.05)


def info(server, key):
    return server.client.get("/key/info", params={"key": key}, headers={"authorization": f"Bearer {KEY}"}).json()["info"]


def test_an_answer_id_that_is_repeated_keeps_both_rows(start, upstream):
    upstream.answer(Answer(body={**canned.chat("hello"), "id": "chatcmpl-the-same"}))
    server = start()
    key = made_key(server)
    for _ in range(3):
        assert server.chat(key=key).status_code == 200
    found = rows(server, key, 3)
    assert len(found) == 3
    assert len({row["request_id"] for row in found}) == 3
    assert "chatcmpl-the-same" in {row["request_id"] for row in found}
    spent = sum(row["spend"] for row in found)
    assert abs(spent - info(server, key)["spend"]) < 1e-9 and spent > 0


def test_failures_have_rows(start, upstream):
    server = start()
    key = made_key(server, rpm_limit=2, models=["m"])
    upstream.answer(Answer(status=500, body={"error": {"message": "broken"}}))
    assert server.chat(key=key).status_code == 500
    assert server.chat("other", key=key).status_code == 403
    assert server.chat(key=key).status_code == 500
    assert server.chat(key=key).status_code == 429
    found = rows(server, key, 4)
    assert [row["status"] for row in found] == ["failure"] * 4
    classes = sorted(row["metadata"]["error_information"]["error_class"] for row in found)
    assert classes == ["InternalServerError", "InternalServerError", "PermissionDeniedError", "RateLimitError"]
    assert {row["spend"] for row in found} == {0}
    assert "unknown-model" in {row["model"] for row in found}
    assert info(server, key)["spend"] == 0


def test_unknown_keys_leave_no_row(start):
    server = start()
    for _ in range(5):
        assert server.chat(key="sk-nobody-has-this-key").status_code == 401
    key = made_key(server)
    assert server.chat(key=key).status_code == 200
    assert len(rows(server, key, 1)) == 1
    everybody = server.client.get("/spend/logs", headers={"authorization": f"Bearer {KEY}"}).json()
    assert all(row["status"] == "success" for row in everybody if row["startTime"] >= rows(server, key, 1)[0]["startTime"])


def test_disable_error_logs(start, upstream):
    server = start(disable_error_logs=True)
    key = made_key(server)
    upstream.answer(Answer(status=500, body={"error": {"message": "broken"}}), Answer(body=canned.chat("hello")))
    assert server.chat(key=key).status_code == 500
    assert server.chat(key=key).status_code == 200
    found = rows(server, key, 1)
    time.sleep(0.5)
    assert [row["status"] for row in rows(server, key, 1)] == ["success"] and found


def test_disable_spend_updates(start):
    server = start(disable_spend_updates=True)
    key = made_key(server)
    assert server.chat(key=key).status_code == 200
    assert rows(server, key, 1)[0]["spend"] > 0
    time.sleep(0.5)
    assert info(server, key)["spend"] == 0


def test_maximum_spend_logs_retention_period(start):
    server = start(maximum_spend_logs_retention_period="2s", maximum_spend_logs_retention_interval="1s")
    key = made_key(server)
    assert server.chat(key=key).status_code == 200
    assert len(rows(server, key, 1)) == 1
    eventually(lambda: rows(server, key, 0) == [])
    assert info(server, key)["spend"] > 0, "the totals stay"


def test_journal_sync_ms(upstream, gateway):
    """0: when the answer is whole, the record is on the disk, whatever becomes of the memory."""
    made = entry("m", upstream, input_cost_per_token=PRICE, output_cost_per_token=PRICE)
    configuration = config(made, general={"master_key": KEY, "journal_sync_ms": 0, "proxy_batch_write_at": 30})
    server = gateway(configuration, "--num_workers", "1")
    key = made_key(server)
    for stream in (False, True):
        assert server.chat(key=key, stream=stream).status_code == 200
    server.process.kill()
    server.process.wait(10)
    for ring in (server.folder / "shardgate-ledger").glob("*.ring"):
        ring.unlink()
    again = gateway(config(made, general={"master_key": KEY, "proxy_batch_write_at": 0.1}), "--num_workers", "1")
    assert len(rows(again, key, 2)) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_refuses_new_work(upstream, gateway, tmp_path):
    """What could not be written down is not begun: 503, and nothing of what was answered is lost."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs: {mounted.stderr.decode()}")
    try:
        made = entry("m", upstream, input_cost_per_token=PRICE, output_cost_per_token=PRICE)
        environment = {"SHARDGATE_LEDGER_FOLDER": str(disk / "ledger"), "SHARDGATE_RING_BYTES": "131072"}
        configuration = config(made, general={"master_key": KEY, "proxy_batch_write_at": 0.1})
        server = gateway(configuration, "--num_workers", "1", env=environment)
        key = made_key(server)
        (disk / "filler").write_bytes(b"x" * (shutil.disk_usage(disk).free - 8192))
        answered = 0
        while answered < 2000:
            answer = server.chat(key=key)
            if answer.status_code != 200:
                break
            answered += 1
        assert answer.status_code == 503, answer.text
        assert "spend journal" in answer.json()["error"]["message"]
        (disk / "filler").unlink()
        assert len(rows(server, key, answered)) >= answered
        eventually(lambda: server.chat(key=key).status_code == 200)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.fixture(scope="module")
def encrypted():
    try:
        made = postgres.Postgres(tls=True)
    except FileNotFoundError as missing:
        pytest.skip(f"Postgres: {missing}")
    yield made
    made.close()


@pytest.mark.parametrize("mode", ["require", "verify-full", "prefer", "disable", "wrong-root"])
def test_database_url_sslmode(encrypted, upstream, gateway, tmp_path, mode):
    """The server takes TLS only."""
    root = encrypted.folder / "data" / "server.crt"
    asked = {"verify-full": f"verify-full&sslrootcert={root}", "wrong-root": "verify-full"}.get(mode, mode)
    general = {"master_key": KEY, "database_url": f"{encrypted.url}&sslmode={asked}", "database_connection_timeout": 2}
    server = gateway(config(entry("m", upstream), general=general))
    answer = server.post("/key/generate", {}, key=KEY)
    if mode in ("disable", "wrong-root"):
        assert answer.status_code == 503, answer.text
    else:
        assert answer.status_code == 200, answer.text
        assert server.chat(key=answer.json()["key"]).status_code == 200


def spend_until_refused(server, model, key=KEY, most=40):
    for number in range(most):
        answer = server.chat(model, key=key)
        if answer.status_code != 200:
            return number, answer
    raise AssertionError(f"{most} calls were served")


def costly(upstream, name="m", **more):
    return entry(name, upstream, input_cost_per_token=PRICE, output_cost_per_token=PRICE, **more)


ONE = canned.chat("hello")["usage"]["total_tokens"] * PRICE


def test_max_budget_of_a_deployment(upstreams, gateway):
    """When it is spent the other deployment serves."""
    bounded, other = upstreams(), upstreams()
    entries = [costly(bounded, max_budget=5 * ONE, budget_duration="1d", order=1), costly(other, order=2)]
    server = gateway(config(*entries, general={"master_key": KEY}))
    assert {server.chat(key=KEY).status_code for _ in range(12)} == {200}
    assert len(bounded.requests) == 5 and len(other.requests) == 7
    assert "max_budget" not in bounded.requests[0].json


@pytest.mark.parametrize("section", ["general", "router"])
def test_provider_budget_config(upstream, gateway, section):
    budget = {"provider_budget_config": {"openai": {"budget_limit": 4 * ONE, "time_period": "1d"}}}
    sections = {section: {**budget, **({"master_key": KEY} if section == "general" else {})}}
    sections.setdefault("general", {"master_key": KEY})
    sections["general"]["proxy_batch_write_at"] = 0.1
    made = config(costly(upstream), costly(upstream, "n"), **sections)
    server = gateway(made)
    served, answer = spend_until_refused(server, "m")
    assert served == 4 and answer.status_code == 429, answer.text
    time.sleep(1.2)
    assert server.chat("n", key=KEY).status_code == 429, "the provider's other deployments too"
    time.sleep(0.5)
    server.terminate()
    again = gateway(made)
    time.sleep(1.5)
    assert again.chat(key=KEY).status_code == 429, "a restart forgets nothing"


def test_provider_budget_config_begins_anew(upstream, gateway):
    budget = {"openai": {"budget_limit": 2 * ONE, "time_period": "4s"}}
    server = gateway(config(costly(upstream), general={"master_key": KEY, "provider_budget_config": budget}))
    time.sleep(1.2)
    served, _ = spend_until_refused(server, "m")
    assert served == 2
    eventually(lambda: server.chat(key=KEY).status_code == 200, 12)


def test_tag_budget_config(start, upstream, gateway):
    budgets = {"search": {"max_budget": 3 * ONE, "budget_duration": "1d"}}
    server = gateway(config(costly(upstream), general={"master_key": KEY}, litellm={"tag_budget_config": budgets}))
    statuses = [server.chat(key=KEY, metadata={"tags": ["search"]}, max_tokens=1).status_code for _ in range(6)]
    assert statuses.count(200) in (3, 4) and statuses[-1] == 422, statuses
    assert server.chat(key=KEY).status_code == 200


# What was sent is paid, whatever became of the rest.

WORDS = ["forty bytes of text, which are ten tokens."] * 4


def stream(server, key):
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * 400}]}
    headers = {"authorization": f"Bearer {key}"}
    return server.client.stream("POST", "/v1/chat/completions", json=body, headers=headers)


def paid(server, key):
    """The tokens of the key's one row, whose spend is theirs and the key's."""
    [row] = rows(server, key, 1)
    assert row["spend"] == pytest.approx(PRICE * (row["prompt_tokens"] + row["completion_tokens"]))
    assert info(server, key)["spend"] == pytest.approx(row["spend"])
    return row["prompt_tokens"], row["completion_tokens"]


def test_a_stream_that_its_upstream_cuts_is_paid(start, upstream):
    upstream.answer(Stream(canned.chat_events(words=WORDS)[:3], ending="cut"))
    server = start()
    key = made_key(server)
    with stream(server, key) as answer:
        assert "error" in answer.read().decode()
    prompt, completion = paid(server, key)
    assert 90 <= prompt <= 130 and 10 <= completion <= 22


def test_a_stream_that_its_client_leaves_is_paid(start, upstream):
    def events():
        yield from canned.chat_events(words=WORDS)[:3]
        time.sleep(5)

    upstream.answer(Stream(events()))
    server = start()
    key = made_key(server)
    with stream(server, key) as answer:
        seen = ""
        for text in answer.iter_text():
            seen += text
            if seen.count("forty") == 2:
                break
    prompt, completion = paid(server, key)
    assert 90 <= prompt <= 130 and 20 <= completion <= 22


def test_a_stream_whose_upstream_does_not_count_is_paid(start, upstream):
    upstream.answer(Stream(canned.chat_events(words=WORDS, usage=None)))
    server = start()
    key = made_key(server)
    with stream(server, key) as answer:
        assert "[DONE]" in answer.read().decode()
    prompt, completion = paid(server, key)
    assert 90 <= prompt <= 130 and 40 <= completion <= 44

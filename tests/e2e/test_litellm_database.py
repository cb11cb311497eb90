"""A database that LiteLLM made: every table of its Prisma schema, with keys, teams, budgets and models
sealed as LiteLLM seals them (a SecretBox of the test's own). It works as it is, and its columns stay as
they were. And planted secrets: none shows in a log, an answer, the ledger or the store."""

import base64
import csv
import hashlib
import json
import os
import struct
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.poly1305 import Poly1305

import postgres
import redis_server
from gateway import config, entry, eventually

SCHEMA = Path(__file__).parents[2] / "src/store/schema"
MASTER, SALT = "sk-master-of-the-old-gateway", "sk-salt-of-the-old-gateway"


def core(key, block, feed):
    """Salsa20's twenty rounds over 16 words; with `feed` the input is added (the stream), else HSalsa20."""
    constant = struct.unpack("<4I", b"expand 32-byte k")
    k, n = struct.unpack("<8I", key), struct.unpack("<4I", block)
    begin = [constant[0], *k[:4], constant[1], *n, constant[2], *k[4:], constant[3]]
    x = list(begin)

    def turn(a, b, c, d):
        for to, p, q, shift in ((b, a, d, 7), (c, b, a, 9), (d, c, b, 13), (a, d, c, 18)):
            sum_ = (x[p] + x[q]) & 0xFFFFFFFF
            x[to] ^= ((sum_ << shift) | (sum_ >> (32 - shift))) & 0xFFFFFFFF

    for _ in range(10):
        for at in ((0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)):
            turn(*at)
        for at in ((0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)):
            turn(*at)
    if feed:
        return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(x, begin)))
    return struct.pack("<8I", *(x[at] for at in (0, 5, 10, 15, 6, 7, 8, 9)))


def seal(text, salt=SALT):
    """As LiteLLM: base64 of a nonce and NaCl's secretbox under the SHA-256 of the salt."""
    nonce, plain = os.urandom(24), text.encode()
    key = core(hashlib.sha256(salt.encode()).digest(), nonce[:16], False)
    blocks = range((32 + len(plain)) // 64 + 1)
    stream = b"".join(core(key, nonce[16:] + struct.pack("<Q", at), True) for at in blocks)
    sealed = bytes(a ^ b for a, b in zip(plain, stream[32:]))
    mac = Poly1305(stream[:32])
    mac.update(sealed)
    return base64.b64encode(nonce + mac.finalize() + sealed).decode()


def test_the_seal_is_nacls():
    """The vector that PyNaCl made opens to the same stream."""
    vector = base64.b64decode((SCHEMA.parent / "testdata/secretbox.txt").read_text().strip())
    nonce, key = vector[:24], core(hashlib.sha256(b"sk-1234").digest(), vector[:16], False)
    stream = core(key, nonce[16:] + bytes(8), True)
    assert bytes(a ^ b for a, b in zip(vector[40:], stream[32:])) == b"sk-upstream"


def schema():
    """All tables as `CREATE TABLE`, without foreign keys."""
    tables = {}
    with open(SCHEMA / "columns.tsv") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            tables.setdefault(row["table"], []).append(row)
    types = {"_text": "text[]", "USER-DEFINED": "text", "timestamp without time zone": "timestamp(3)"}
    for table, columns in tables.items():
        lines = []
        for c in columns:
            line = f'"{c["column"]}" {types.get(c["type"], c["type"])}'
            line += " NOT NULL" if c["nullable"] == "NO" else ""
            line += f" DEFAULT {c['default']}" if c["default"] and "nextval" not in c["default"] and c["type"] != "USER-DEFINED" else ""
            lines.append(line)
        keys = [f'"{c["column"]}"' for c in columns if c["key"] == "pk"]
        lines += [f"PRIMARY KEY ({', '.join(keys)})"] if keys else []
        yield table, columns, f'CREATE TABLE "{table}" ({", ".join(lines)})'


@pytest.fixture(scope="module")
def old():
    """The database's URL and a function that asks it."""
    try:
        made = postgres.Postgres()
    except FileNotFoundError as missing:
        pytest.skip(f"Postgres: {missing}")
    with open(SCHEMA / "indexes.tsv") as file:
        indexes = [row for row in csv.DictReader(file, delimiter="\t") if not row["index"].endswith("_pkey")]
    script = [sql for _, _, sql in schema()]
    script += [f'CREATE {row["unique"]} INDEX "{row["index"]}" ON "{row["table"]}" USING {row["definition"]}' for row in indexes]
    made.query(";\n".join(script))
    yield made
    made.close()


def insert(old, table, **fields):
    def text(value):
        if value is None or isinstance(value, (int, float)):
            return "NULL" if value is None else str(value)
        if isinstance(value, list):
            return "ARRAY[" + ", ".join(text(v) for v in value) + "]::text[]"
        value = json.dumps(value) if isinstance(value, dict) else value
        return "'" + value.replace("'", "''") + "'"

    names = ", ".join(f'"{name}"' for name in fields)
    old.query(f'INSERT INTO "{table}" ({names}) VALUES ({", ".join(text(v) for v in fields.values())})')


def test_a_database_of_litellm_works_unchanged(old, gateway, upstream):
    def key(plain, **more):
        token = hashlib.sha256(plain.encode()).hexdigest()
        insert(old, "LiteLLM_VerificationToken", token=token, key_name="sk-..." + plain[-4:], **more)
        return plain

    by = {"created_by": "admin", "updated_by": "admin"}
    insert(old, "LiteLLM_BudgetTable", budget_id="b", max_budget=0.000001, **by)
    insert(old, "LiteLLM_OrganizationTable", organization_id="o", organization_alias="O", budget_id="b", models=["stored", "m"], **by)
    insert(old, "LiteLLM_TeamTable", team_id="t", team_alias="T", models=["stored"], members_with_roles={}, rpm_limit=2)
    insert(old, "LiteLLM_UserTable", user_id="u", user_role="internal_user", user_email="u@a.example", models=["m"])
    params = {"model": seal("openai/stored-upstream"), "api_key": seal("sk-sealed-by-litellm"), "api_base": seal(upstream.url + "/v1"),
              "input_cost_per_token": 0.001, "output_cost_per_token": 0.002}
    insert(old, "LiteLLM_ProxyModelTable", model_id="id-1", model_name="stored", litellm_params=params, model_info={"id": "id-1"}, **by)
    team, own = key("sk-key-of-a-team-1234", team_id="t"), key("sk-key-of-a-user-1234", user_id="u", models=["m"])
    blocked, late = key("sk-a-blocked-key-1234", blocked="true"), key("sk-an-old-key-1234567", expires="2020-01-01 00:00:00")
    poor = key("sk-a-poor-key-12345678", max_budget=0.000001, models=["stored"])
    before = {table: [(c["column"], c["type"]) for c in columns] for table, columns, _ in schema()}
    types = old.query("SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_name LIKE 'LiteLLM_%'")
    general = {"master_key": MASTER, "database_url": old.url, "store_model_in_db": True}
    server = gateway(config(entry("m", upstream), general=general), env={"LITELLM_SALT_KEY": SALT})
    assert server.chat("stored", key=team).status_code == 200, server.log
    assert upstream.last.header("authorization") == "Bearer sk-sealed-by-litellm"
    assert upstream.last.json["model"] == "stored-upstream"
    assert server.chat("m", key=team).status_code == 403
    assert [server.chat("stored", key=team).status_code for _ in range(2)] == [200, 429]
    assert server.chat("m", key=own).status_code == 200 and server.chat("stored", key=own).status_code == 403
    assert server.chat("m", key=blocked).status_code == 401 and server.chat("m", key=late).status_code == 401
    assert server.chat("stored", key=poor, max_tokens=1).status_code == 200
    assert server.chat("stored", key=poor, max_tokens=1).status_code == 422
    eventually(lambda: old.query('SELECT 1 FROM "LiteLLM_SpendLogs" WHERE spend > 0'), 30)
    # What LiteLLM made is as LiteLLM made it.
    after = old.query("SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_name LIKE 'LiteLLM_%'")
    assert all(line in after for line in types) and len(before) > 60
    stored = old.query('SELECT litellm_params FROM "LiteLLM_ProxyModelTable"')[0][0]
    assert json.loads(stored) == params


def test_a_changed_salt_is_a_clear_error(old, gateway, upstream):
    general = {"master_key": MASTER, "database_url": old.url, "store_model_in_db": True}
    server = gateway(config(entry("m", upstream), general=general), env={"LITELLM_SALT_KEY": "sk-another-salt"})
    server.wait_log("LITELLM_SALT_KEY")
    assert server.chat("m", key=MASTER).status_code == 200


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_canaries_of_secrets_show_nowhere(request, gateway, upstream, store, tmp_path):
    import mock
    words = {name: f"canary{name}{time.monotonic_ns()}" for name in ("master", "salt", "provider", "stored", "credential", "password", "client", "redis")}
    master = "sk-" + words["master"]
    general = {"master_key": master, "store_model_in_db": True, "allow_client_side_credentials": True}
    if store == "postgres":
        plain = request.getfixturevalue("old").url
        general["database_url"] = plain.replace("litellm@", f"litellm:{words['password']}@")
    entries = [entry("m", upstream, api_key="sk-" + words["provider"], input_cost_per_token=0.001)]
    shared = redis_server.Redis("--requirepass", words["redis"])
    request.addfinalizer(shared.close)
    router = {"redis_host": "127.0.0.1", "redis_port": shared.port, "redis_password": words["redis"]}
    server = gateway(config(*entries, general=general, router=router, litellm={"set_verbose": True}), "--detailed_debug", env={"LITELLM_SALT_KEY": "sk-" + words["salt"]})
    answers, head = [], {"authorization": f"Bearer {master}"}

    def said(answer):
        answers.append(answer.text + str(answer.headers))
        return answer

    server.wait_log("limits are agreed")
    limits = {"rpm_limit": 1000, "tpm_limit": 1_000_000, "max_parallel_requests": 10, "max_budget": 10}
    made = server.post("/key/generate", {"models": ["m"], **limits}, key=master)
    key = made.json()["key"]
    stored = {"model": "openai/x", "api_key": "sk-" + words["stored"], "api_base": upstream.url + "/v1"}
    said(server.post("/model/new", {"model_name": "s", "litellm_params": stored}, key=master))
    said(server.post("/credentials", {"credential_name": f"c{time.monotonic_ns()}", "credential_info": {},
                                      "credential_values": {"api_key": "sk-" + words["credential"]}}, key=master))
    assert said(server.chat(key=key)).status_code == 200
    said(server.chat("none", key=key)), said(server.chat(key=key + "x")), said(server.chat(key="sk-" + words["client"]))
    said(server.chat(key=master, api_key="sk-" + words["client"]))
    echo = {"error": {"message": f"Incorrect API key provided: sk-{words['provider']}", "type": "x"}}
    upstream.answer(mock.Answer(401, echo))
    said(server.chat(key=key))
    for path in ("/model/info", "/v1/models", "/health", "/health/readiness", "/credentials", "/key/list", "/config/yaml", "/get/config/callbacks",
                 "/spend/logs", "/user/list", "/metrics", "/config/list?config_type=general_settings", "/router/settings", "/global/spend"):
        said(server.client.get(path, headers=head))
    time.sleep(0.5)
    # All that Redis holds, as it writes it down.
    assert shared.cli("-a", words["redis"], "keys", "*").count("key:") >= 3
    shared.cli("-a", words["redis"], "save")
    rdb = (shared.folder / "dump.rdb").read_bytes()
    server.terminate()
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != server.path}
    assert any("ledger" in str(path) for path in files)
    for name, word in {**words, "virtual key": key[3:]}.items():
        assert word.encode() not in rdb, f"{name} is in Redis' dump"
        for path, data in files.items():
            assert word.encode() not in data, f"{name} is in {path.name}"
        for answer in answers:
            assert word not in answer, f"{name} is in {answer[:300]}"
    if store == "postgres":
        dump = "\n".join("\t".join(row) for table, _, _ in schema() for row in request.getfixturevalue("old").query(f'SELECT * FROM "{table}"'))
        assert all(word not in dump for word in [*words.values(), key[3:]])

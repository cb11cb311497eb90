"""Those who pay besides the key: end users, tags, everybody together; and how changes travel."""

import hashlib
import time

import pytest

import postgres
from gateway import KEY, admin, config, entry, error


@pytest.fixture
def start(store, upstream, gateway):
    def run(**more):
        general = {"master_key": KEY, **store, **more.pop("general", {})}
        return gateway(config(entry("m", upstream), entry("other", upstream), general=general, **more))

    return run


def test_end_user_blocked_and_over_budget(start):
    server = start()
    key = admin(server, "/key/generate", {})["key"]
    name = f"person-{time.time_ns()}"
    assert server.chat(key=key, user=name).status_code == 200
    admin(server, "/customer/block", {"user_ids": [name]})
    assert server.chat(key=key, user=name).status_code == 401
    assert server.chat(key=KEY, user=name).status_code == 401
    admin(server, "/customer/unblock", {"user_ids": [name]})
    assert server.chat(key=key, user=name).status_code == 200
    admin(server, "/customer/update", {"user_id": name, "max_budget": 0})
    over = server.chat(key=key, user=name)
    assert over.status_code == 422, over.text
    assert error(over)["message"] == f"ExceededBudget: End User={name} over budget. Spend=0.0, Budget=0.0"
    assert server.chat(key=key, user="somebody else").status_code == 200


def test_end_user_rpm_limit(start):
    server = start()
    name = f"fast-{time.time_ns()}"
    admin(server, "/customer/new", {"user_id": name, "rpm_limit": 1})
    assert server.chat(key=KEY, user=name).status_code == 200
    limited = server.chat(key=KEY, user=name)
    assert limited.status_code == 429 and f"end_user: {name}" in error(limited)["message"]


def test_tag_budget(start):
    server = start()
    tag = f"tag-{time.time_ns()}"
    admin(server, "/tag/new", {"name": tag, "max_budget": 0})
    over = server.chat(key=KEY, metadata={"tags": [tag]})
    assert over.status_code == 422 and f"Tag={tag}" in error(over)["message"]
    key = admin(server, "/key/generate", {"metadata": {"tags": [tag]}})["key"]
    assert server.chat(key=key).status_code == 422
    admin(server, "/tag/delete", {"name": tag})
    assert server.chat(key=key).status_code == 200


def test_enforce_user_param(start):
    server = start(general={"enforce_user_param": True})
    missing = server.chat(key=KEY)
    assert missing.status_code == 400 and error(missing)["param"] == "user"
    assert server.chat(key=KEY, user="a").status_code == 200
    assert server.chat(key=KEY, headers={"x-user-id": "a"}).status_code == 200


def test_budget_exceeded_status_code(start):
    server = start(litellm={"budget_exceeded_status_code": 429})
    key = admin(server, "/key/generate", {"max_budget": 0})["key"]
    assert server.chat(key=key).status_code == 429


def test_default_team_disabled(start):
    server = start(general={"default_team_disabled": True})
    key = admin(server, "/key/generate", {})["key"]
    assert server.chat(key=key).status_code == 403
    team = admin(server, "/team/new", {})["team_id"]
    key = admin(server, "/key/generate", {"team_id": team})["key"]
    assert server.chat(key=key).status_code == 200


def test_upperbound_and_default_key_generate_params(start):
    server = start(litellm={
        "upperbound_key_generate_params": {"max_budget": 10, "duration": "30d", "rpm_limit": 100},
        "default_key_generate_params": {"max_budget": 1.5, "models": ["m"]}})
    made = admin(server, "/key/generate", {})
    assert made["max_budget"] == 1.5 and made["models"] == ["m"] and made["rpm_limit"] == 100 and made["expires"]
    refused = admin(server, "/key/generate", {"max_budget": 11}, 400)
    assert "over max limit set in config" in refused["error"]["message"]
    admin(server, "/key/generate", {"duration": "60d"}, 400)


def test_key_generation_settings(start):
    server = start(litellm={"key_generation_settings": {
        "team_key_generation": {"allowed_team_member_roles": ["admin"], "required_params": ["tags"]},
        "personal_key_generation": {"allowed_user_roles": ["proxy_admin"], "required_params": ["key_alias"]}}})
    admin(server, "/key/generate", {}, 400)
    admin(server, "/key/generate", {"key_alias": f"a-{time.time_ns()}"})
    team = admin(server, "/team/new", {})["team_id"]
    admin(server, "/key/generate", {"team_id": team})


def test_allowed_routes_and_admin_only_routes(start):
    server = start(general={"allowed_routes": ["/v1/embeddings", "info_routes"],
                            "admin_only_routes": ["/v1/embeddings"]})
    key = admin(server, "/key/generate", {})["key"]
    refused = server.chat(key=key)
    assert refused.status_code == 403 and "not allowed" in error(refused)["message"]
    assert server.post("/v1/embeddings", {"model": "m", "input": "x"}, key=key).status_code == 403
    assert server.post("/v1/embeddings", {"model": "m", "input": "x"}, key=KEY).status_code == 200


def test_a_fallback_must_be_allowed_too(upstream, upstreams, gateway):
    from mock import Answer

    broken = upstreams()
    broken.answer(Answer(500, {"error": {"message": "broken"}}))
    server = gateway(config(
        entry("m", broken), entry("other", upstream), general={"master_key": KEY},
        litellm={"fallbacks": [{"m": ["other"]}]}))
    wide = admin(server, "/key/generate", {"models": ["m", "other"]})["key"]
    narrow = admin(server, "/key/generate", {"models": ["m"]})["key"]
    assert server.chat(key=wide).status_code == 200
    assert server.chat(key=narrow).status_code != 200
    assert len(upstream.requests) == 1


def test_changes_reach_another_instance(upstream, gateway, database):
    made = config(entry("m", upstream), general={"master_key": KEY, "database_url": database.url})
    one, two = gateway(made), gateway(made)
    key = admin(one, "/key/generate", {})["key"]
    assert one.chat(key=key).status_code == 200 and two.chat(key=key).status_code == 200
    admin(one, "/key/delete", {"keys": [key]})
    assert one.chat(key=key).status_code == 401
    until = time.monotonic() + 1.0
    while two.chat(key=key).status_code != 401:
        assert time.monotonic() < until, "a deleted key works on another instance after a second"
        time.sleep(0.02)


def test_keys_survive_a_restart(upstream, gateway):
    made = config(entry("m", upstream), general={"master_key": KEY})
    one = gateway(made)
    key = admin(one, "/key/generate", {"key_alias": "kept"})["key"]
    assert one.terminate() == 0
    assert gateway(made).chat(key=key).status_code == 200


def test_database_away(upstream, gateway):
    own = None
    try:
        own = postgres.Postgres()
    except FileNotFoundError as missing:
        pytest.skip(f"Postgres: {missing}")
    try:
        made = config(entry("m", upstream), general={"master_key": KEY, "database_url": own.url,
                                                     "database_connection_timeout": 2})
        server = gateway(made)
        known = admin(server, "/key/generate", {})["key"]
        assert server.chat(key=known).status_code == 200
        own.stop()
        for _ in range(5):
            assert server.chat(key=known).status_code == 200
        assert server.chat(key=KEY).status_code == 200
        unknown = server.chat(key="sk-never-seen-before-by-us")
        assert unknown.status_code == 503 and error(unknown)["type"] == "no_db_connection", unknown.text
        assert server.post("/key/generate", {}, key=KEY).status_code == 503
        assert own.url not in server.log
        own.start()
        until = time.monotonic() + 20
        while server.post("/key/generate", {}, key=KEY).status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        own.close()


def test_no_key_stands_in_the_log_or_the_store(upstream, gateway):
    server = gateway(config(entry("m", upstream), general={"master_key": KEY}))
    key = admin(server, "/key/generate", {"key_alias": "secret-holder"})["key"]
    assert server.chat(key=key).status_code == 200
    assert server.chat(key="sk-canary-unknown-key-123").status_code == 401
    stored = b"".join(p.read_bytes() for p in server.folder.glob("shardgate.db*"))
    assert hashlib.sha256(key.encode()).hexdigest().encode() in stored
    for secret in (key, "sk-canary-unknown-key-123", KEY):
        assert secret.encode() not in stored and secret not in server.log


def test_a_flood_of_unknown_keys(upstream, gateway, database):
    server = gateway(config(entry("m", upstream), general={"master_key": KEY, "database_url": database.url}))
    good = admin(server, "/key/generate", {})["key"]
    time.sleep(0.5)
    before = int(database.query("SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'")[0][0])
    for i in range(1500):
        assert server.chat(key=f"sk-flood-of-unknown-keys-{i}").status_code == 401
    assert server.chat(key=good).status_code == 200
    time.sleep(1.5)
    after = int(database.query("SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'")[0][0])
    assert after - before < 600, f"{after - before} transactions for 1500 unknown keys"
    # A key that another program wrote is found all the same.
    key = f"sk-written-by-another-{time.time_ns()}"
    database.query('INSERT INTO "LiteLLM_VerificationToken" (token) VALUES (\'%s\')'
                   % hashlib.sha256(key.encode()).hexdigest())
    assert server.chat(key=key).status_code == 200

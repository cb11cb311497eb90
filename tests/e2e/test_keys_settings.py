"""Parameters of keys, teams, users and their budgets, each in a test of its name, on both stores."""

import time

import pytest

from gateway import KEY, admin, config, entry, error, eventually, get, new_key


@pytest.fixture
def start(store, upstream, gateway):
    """start(**general): a gateway whose model `m` costs 0.001 a token; `free` costs nothing."""

    def run(litellm=None, env=None, **general):
        price = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001}
        nothing = {"input_cost_per_token": 0, "output_cost_per_token": 0}
        general = {"master_key": KEY, "proxy_batch_write_at": 0.1, **store, **general}
        return gateway(config(entry("m", upstream, **price), entry("other", upstream, **price), entry("free", upstream, **nothing),
                              general=general, litellm=litellm), env=env or {})

    return run


def name(prefix="n"):
    return f"{prefix}-{time.time_ns()}"


def user(server, **fields):
    return admin(server, "/user/new", {"user_id": name("user"), **fields})


# Budgets

def test_soft_budget(start):
    server = start()
    key = new_key(server, soft_budget=0.001, max_budget=100, key_alias=name("soft"))
    shown = get(server, "/key/info", key=key["key"])["info"]["litellm_budget_table"]
    assert shown["soft_budget"] == 0.001
    for _ in range(3):
        assert server.chat(key=key["key"]).status_code == 200, "nobody is refused for a soft budget"
    server.wait_log(rf"soft_budget_passed who=key:{key['token']} spend=\S+ soft_budget=0.001")
    time.sleep(1.2)
    assert server.log.count("soft_budget_passed") == 1, "it is said once"
    # A new bound is a new warning.
    admin(server, "/key/update", {"key": key["key"], "soft_budget": 0.002})
    assert get(server, "/key/info", key=key["key"])["info"]["litellm_budget_table"]["soft_budget"] == 0.002
    server.wait_log("soft_budget=0.002")


def test_soft_budget_of_a_team(start):
    server = start()
    team = admin(server, "/team/new", {"soft_budget": 0.001})["team_id"]
    key = new_key(server, team_id=team)["key"]
    assert server.chat(key=key).status_code == 200
    server.wait_log(f"soft_budget_passed who=team:{team}")


@pytest.mark.parametrize("limit", [
    {"budget_limit": 0.000001, "time_period": "2s"}, {"max_budget": 0.000001, "budget_duration": "2s"}])
def test_model_max_budget(start, limit):
    server = start()
    key = new_key(server, model_max_budget={"m": limit})["key"]
    assert server.chat(key=key, max_tokens=1).status_code == 200
    over = server.chat(key=key, max_tokens=1)
    assert over.status_code == 422 and error(over)["type"] == "budget_exceeded" and "model=m" in error(over)["message"]
    assert server.chat("other", key=key).status_code == 200, "other models are free of it"
    eventually(lambda: server.chat(key=key, max_tokens=1).status_code == 200, 5)


def test_model_max_budget_survives_a_restart(start):
    server = start()
    key = new_key(server, model_max_budget={"m": {"budget_limit": 0.000001, "time_period": "1d"}})["key"]
    assert server.chat(key=key, max_tokens=1).status_code == 200
    assert server.terminate() == 0
    assert start().chat(key=key, max_tokens=1).status_code == 422


def test_model_max_budget_of_a_team_and_a_user(start):
    server = start()
    limit = {"m": {"budget_limit": 0.000001, "time_period": "1d"}}
    team = admin(server, "/team/new", {"model_max_budget": limit})["team_id"]
    one, two = (new_key(server, team_id=team)["key"] for _ in range(2))
    assert server.chat(key=one).status_code == 200
    assert server.chat(key=two).status_code == 422, "all keys of the team share it"
    own = user(server, model_max_budget=limit)["key"]
    assert [server.chat(key=own).status_code for _ in range(2)] == [200, 422]


def test_max_budget_in_organization(start):
    server = start()
    org = admin(server, "/organization/new", {"organization_alias": name("org")})["organization_id"]
    member = user(server)["user_id"]
    admin(server, "/organization/member_add", {"organization_id": org, "max_budget_in_organization": 0.000001,
                                               "member": {"role": "internal_user", "user_id": member}})
    key = new_key(server, organization_id=org, user_id=member)["key"]
    assert server.chat(key=key).status_code == 200
    over = server.chat(key=key)
    assert over.status_code == 422 and f"User={member} in Organization={org}" in error(over)["message"]
    other = new_key(server, organization_id=org)["key"]
    assert server.chat(key=other).status_code == 200


def test_max_budget_in_team_and_team_member_budget(start):
    server = start()
    member = user(server)["user_id"]
    team = admin(server, "/team/new", {"team_member_budget": 0.000001, "members_with_roles": [{"role": "user", "user_id": member}]})["team_id"]
    key = new_key(server, team_id=team, user_id=member)["key"]
    assert [server.chat(key=key).status_code for _ in range(2)] == [200, 422]
    admin(server, "/team/member_update", {"team_id": team, "user_id": member, "max_budget_in_team": 100})
    assert server.chat(key=key).status_code == 200


def test_temp_budget_increase(start):
    server = start()
    key = new_key(server, max_budget=0.000001)["key"]
    assert [server.chat(key=key).status_code for _ in range(2)] == [200, 422]
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    admin(server, "/key/update", {"key": key, "temp_budget_increase": 100, "temp_budget_expiry": until})
    assert server.chat(key=key).status_code == 200
    past = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 60))
    admin(server, "/key/update", {"key": key, "temp_budget_increase": 100, "temp_budget_expiry": past})
    assert server.chat(key=key).status_code == 422


def test_grace_period(start):
    server = start()
    old = new_key(server, models=["m"])["key"]
    fresh = admin(server, f"/key/{old}/regenerate", {"grace_period": "2s"})["key"]
    assert server.chat(key=old).status_code == server.chat(key=fresh).status_code == 200
    assert server.chat("other", key=old).status_code == 403, "it may do what the new one may"
    admin(server, "/key/block", {"key": fresh})
    assert server.chat(key=old).status_code == 401, "a block of the new key counts for both"
    admin(server, "/key/unblock", {"key": fresh})
    eventually(lambda: server.chat(key=old).status_code == 401, 5)
    assert server.chat(key=fresh).status_code == 200
    at_once = admin(server, f"/key/{fresh}/regenerate", {})["key"]
    assert server.chat(key=fresh).status_code == 401 and server.chat(key=at_once).status_code == 200


def rotating(start, **env):
    return start(env={"LITELLM_KEY_ROTATION_ENABLED": "true", "LITELLM_KEY_ROTATION_CHECK_INTERVAL_SECONDS": "0.3", **env})


def test_auto_rotate_and_rotation_interval(start):
    server = rotating(start)
    made = new_key(server, auto_rotate=True, rotation_interval="2s", key_alias=name("turning"), models=["m"])
    assert (made["auto_rotate"], made["rotation_interval"]) == (True, "2s") and made["key_rotation_at"]
    stays = new_key(server, auto_rotate=False, rotation_interval="1s")
    assert stays["key_rotation_at"] is None
    assert server.chat(key=made["key"]).status_code == 200
    eventually(lambda: server.chat(key=made["key"]).status_code == 401)
    server.wait_log(f"key_rotated.*token={made['token']}.*alias={made['key_alias']}")
    held = get(server, "/key/list", key_alias=made["key_alias"], return_full_object="true")["keys"]
    assert len(held) == 1 and held[0]["token"] != made["token"] and held[0]["rotation_count"] >= 1
    assert held[0]["models"] == ["m"] and held[0]["last_rotation_at"] and held[0]["updated_by"] == "litellm_internal_jobs"
    assert server.chat(key=stays["key"]).status_code == 200
    admin(server, "/key/update", {"key": held[0]["token"], "auto_rotate": False})
    refused = server.post("/key/generate", {"auto_rotate": True}, key=KEY)
    assert refused.status_code == 400 and error(refused)["param"] == "rotation_interval"
    assert server.post("/key/generate", {"auto_rotate": True, "rotation_interval": "soon"}, key=KEY).status_code == 400


def test_auto_rotate_with_a_grace_period(start):
    server = rotating(start, LITELLM_KEY_ROTATION_GRACE_PERIOD="60s")
    made = new_key(server, auto_rotate=True, rotation_interval="1s", key_alias=name("turning"))
    server.wait_log(f"key_rotated.*token={made['token']}")
    assert server.chat(key=made["key"]).status_code == 200, "the old one works on for a minute"
    held = get(server, "/key/list", key_alias=made["key_alias"])["keys"]
    admin(server, "/key/delete", {"keys": held})


def test_timezone(start):
    server = start(litellm={"timezone": "Asia/Tokyo"})
    for made in (new_key(server, max_budget=1, budget_duration="1d"), user(server, max_budget=1, budget_duration="1d"),
                 admin(server, "/team/new", {"max_budget": 1, "budget_duration": "1d"}),
                 admin(server, "/budget/new", {"max_budget": 1, "budget_duration": "1d"})):
        assert made["budget_reset_at"][11:19] == "15:00:00", "midnight in Tokyo"
    month = new_key(server, max_budget=1, budget_duration="1mo")["budget_reset_at"]
    assert month[11:19] == "15:00:00" and month[8:10] in ("28", "29", "30", "31")
    with pytest.raises(Exception) as failed:
        start(litellm={"timezone": "Mars/Olympus"})
    assert "litellm_settings.timezone" in str(failed.value) and "Europe/Berlin" in str(failed.value)


def prioritised(start, upstream, store, gateway, **settings):
    """A gateway whose model `m` has 20 requests a minute: prod keeps 0.6 of them, dev 0.2, others 0.2."""
    reserved = {"priority_reservation": {"prod": 0.6, "dev": 0.2},
                "priority_reservation_settings": {"default_priority": 0.2, "saturation_threshold": 0.4, **settings}}
    return gateway(config(entry("m", upstream, rpm=8), entry("m", upstream, rpm=12), entry("other", upstream),
                          general={"master_key": KEY, **store}, litellm=reserved))


def test_priority_reservation(store, upstream, gateway, start):
    server = prioritised(start, upstream, store, gateway)
    dev, prod = (new_key(server, metadata={"priority": name})["key"] for name in ("dev", "prod"))
    team = admin(server, "/team/new", {"metadata": {"priority": "dev"}})["team_id"]
    of_team, plain = new_key(server, team_id=team)["key"], new_key(server)["key"]
    # Up to the threshold of 8 nobody is kept to his own.
    assert [server.chat(key=dev).status_code for _ in range(8)] == [200] * 8
    over = server.chat(key=dev)
    assert over.status_code == 429 and "priority_model: dev:m" in error(over)["message"], over.text
    assert over.headers["retry-after"] and server.chat(key=of_team).status_code == 429, "the team's share is the same one"
    assert server.chat("other", key=dev).status_code == 200, "a model without limits has nothing to keep"
    # From there on everybody gets his own, until the model's limit of 20.
    assert [server.chat(key=plain).status_code for _ in range(5)] == [200] * 4 + [429]
    assert [server.chat(key=prod).status_code for _ in range(9)] == [200] * 8 + [429]


def test_priority_reservation_settings(store, upstream, gateway, start):
    server = prioritised(start, upstream, store, gateway, saturation_threshold=0, default_priority=0.1)
    dev = new_key(server, metadata={"priority": "dev"})["key"]
    assert [server.chat(key=dev).status_code for _ in range(5)] == [200] * 4 + [429], "shares are kept from the first call on"
    plain = new_key(server)["key"]
    assert [server.chat(key=plain).status_code for _ in range(3)] == [200] * 2 + [429]


# Users and teams

def test_default_internal_user_params(start):
    server = start(litellm={"default_internal_user_params": {"user_role": "internal_user_viewer", "max_budget": 3, "models": ["m"]}})
    made = user(server)
    assert (made["user_role"], made["max_budget"], made["models"]) == ("internal_user_viewer", 3, ["m"])
    assert user(server, max_budget=9)["max_budget"] == 9


def test_max_internal_user_budget_and_internal_user_budget_duration(start):
    server = start(litellm={"max_internal_user_budget": 7, "internal_user_budget_duration": "1mo"})
    made = user(server)
    assert (made["max_budget"], made["budget_duration"]) == (7, "1mo") and made["budget_reset_at"]


def test_default_team_params(start):
    server = start(litellm={"default_team_params": {"max_budget": 4, "models": ["m"], "tpm_limit": 100}})
    made = admin(server, "/team/new", {})
    assert (made["max_budget"], made["models"], made["tpm_limit"]) == (4, ["m"], 100)
    assert admin(server, "/team/new", {"max_budget": 9})["max_budget"] == 9


def test_max_user_budget(start):
    server = start(litellm={"max_user_budget": 0.000001})
    key, who = new_key(server)["key"], name("person")
    assert server.chat(key=key, user=who).status_code == 200
    assert server.chat(key=key, user=who).status_code == 422
    assert server.chat(key=key, user=name("else")).status_code == 200


def test_disable_end_user_cost_tracking(start):
    server = start(litellm={"disable_end_user_cost_tracking": True})
    who = name("person")
    admin(server, "/customer/new", {"user_id": who})
    key = new_key(server)["key"]
    assert server.chat(key=key, user=who).status_code == 200
    eventually(lambda: get(server, "/key/info", key=key)["info"]["spend"] > 0)
    assert get(server, "/customer/info", end_user_id=who)["spend"] == 0


# Making keys

def test_upperbound_key_generate_params(start):
    server = start(litellm={"upperbound_key_generate_params": {"max_budget": 5, "duration": "30d", "tpm_limit": 10}})
    assert "max_budget" in server.post("/key/generate", {"max_budget": 6}, key=KEY).text
    admin(server, "/key/generate", {"max_budget": 6}, 400)
    admin(server, "/key/generate", {"duration": "31d"}, 400)
    admin(server, "/key/generate", {"tpm_limit": 11}, 400)
    assert new_key(server)["max_budget"] == 5, "who asks for nothing gets the bound"


def test_team_key_generation_allowed_team_member_roles_and_required_params(start):
    server = start(litellm={"key_generation_settings": {"team_key_generation": {
        "allowed_team_member_roles": ["admin"], "required_params": ["tags"]}}})
    boss, mate = user(server, user_role="internal_user"), user(server, user_role="internal_user")
    team = admin(server, "/team/new", {"members_with_roles": [
        {"role": "admin", "user_id": boss["user_id"]}, {"role": "user", "user_id": mate["user_id"]}]})["team_id"]
    admin(server, "/team/permissions_update", {"team_id": team, "team_member_permissions": ["/key/generate"]})
    admin(server, "/key/generate", {"team_id": team, "tags": ["a"]}, key=boss["key"])
    missing = server.post("/key/generate", {"team_id": team}, key=boss["key"])
    assert missing.status_code == 400 and "tags" in error(missing)["message"]
    denied = server.post("/key/generate", {"team_id": team, "tags": ["a"]}, key=mate["key"])
    assert denied.status_code == 400 and "allows" in error(denied)["message"]


def test_personal_key_generation_allowed_user_roles_and_required_params(start):
    server = start(litellm={"key_generation_settings": {"personal_key_generation": {
        "allowed_user_roles": ["proxy_admin"], "required_params": ["key_alias"]}}})
    admin(server, "/key/generate", {"key_alias": name()})
    assert "key_alias" in error(server.post("/key/generate", {}, key=KEY))["message"]
    mate = admin(server, "/user/new", {"user_id": name("mate"), "user_role": "internal_user", "key_alias": name()})
    admin(server, "/key/generate", {"key_alias": name()}, 400, key=mate["key"])


def test_service_account_settings_key_type(start):
    server = start(service_account_settings=[{"key_type": "service_account", "settings": {"rpm": 1}}])
    team = admin(server, "/team/new", {})["team_id"]
    key = admin(server, "/key/service-account/generate", {"team_id": team})["key"]
    assert [server.chat(key=key).status_code for _ in range(2)] == [200, 429]


def test_key_type(start):
    server = start()
    calls = new_key(server, key_type="llm_api")["key"]
    assert server.chat(key=calls).status_code == 200
    get(server, "/key/info", by=calls, status=403)
    manages = new_key(server, key_type="management")["key"]
    assert server.chat(key=manages).status_code == 403
    get(server, "/key/info", by=manages)
    reads = new_key(server, key_type="read_only")["key"]
    assert server.chat(key=reads).status_code == 403
    get(server, "/key/info", by=reads)
    admin(server, "/key/generate", {"key_type": "magic"}, 400)


# Access

def test_public_routes(start):
    server = start(public_routes=["/v1/models"])
    assert server.client.get("/v1/models").status_code == 200
    assert server.client.get("/key/list").status_code == 401
    assert server.chat().status_code == 401


def test_litellm_license(start):
    server = start(litellm_license="lic-canary-0123456789")
    assert server.chat(key=KEY).status_code == 200
    assert "lic-canary" not in server.log + server.client.get("/config/yaml", headers={"authorization": f"Bearer {KEY}"}).text


def test_user_api_key_cache_ttl(start, database, store):
    if not store:
        pytest.skip("nobody else writes into the embedded store")
    server = start(user_api_key_cache_ttl=1)
    key = new_key(server)
    assert server.chat(key=key["key"]).status_code == 200
    # Somebody else changes the row and tells nobody.
    database.query(f"UPDATE \"LiteLLM_VerificationToken\" SET blocked = true WHERE token = '{key['token']}'")
    eventually(lambda: server.chat(key=key["key"]).status_code == 401, 5)


# Spend and the database

def test_disable_spend_logs(start):
    server = start(disable_spend_logs=True)
    key = new_key(server)["key"]
    assert server.chat(key=key).status_code == 200
    eventually(lambda: get(server, "/key/info", key=key)["info"]["spend"] > 0)
    assert get(server, "/spend/logs", api_key=key) == []


def test_disable_adding_master_key_hash_to_db(start):
    import hashlib

    for hidden in (True, False):
        server = start(disable_adding_master_key_hash_to_db=hidden)
        asked = name("asked")
        assert server.chat(key=KEY, user=asked).status_code == 200
        eventually(lambda: get(server, "/spend/logs", end_user=asked))
        row = get(server, "/spend/logs", end_user=asked)[0]
        assert (row["api_key"] == hashlib.sha256(KEY.encode()).hexdigest()) is not hidden
        assert server.terminate() == 0


def test_disable_master_key_return(start):
    for hidden in (True, False):
        server = start(disable_master_key_return=hidden)
        owner = user(server, auto_create_key=False)["user_id"]
        # Databases of LiteLLM's older versions have a row of the master key.
        master, other = new_key(server, key=KEY, user_id=owner)["token"], new_key(server, user_id=owner)["token"]
        told = {row["token"] for row in get(server, "/user/info", user_id=owner)["keys"]}
        assert told == ({other} if hidden else {master, other})
        admin(server, "/key/delete", {"keys": [master]})
        assert server.terminate() == 0


def test_disable_reset_budget(start):
    fast = {"proxy_budget_rescheduler_min_time": 1, "proxy_budget_rescheduler_max_time": 1}
    server = start(disable_reset_budget=True, **fast)
    key = new_key(server, max_budget=0.000001, budget_duration="1s")["key"]
    assert [server.chat(key=key).status_code for _ in range(2)] == [200, 422]
    time.sleep(3)
    assert server.chat(key=key).status_code == 422
    assert server.terminate() == 0
    again = start(**fast)
    eventually(lambda: again.chat(key=key).status_code == 200)


def test_proxy_budget_rescheduler_min_time_and_proxy_budget_rescheduler_max_time(start):
    server = start(proxy_budget_rescheduler_min_time=1, proxy_budget_rescheduler_max_time=2)
    key = new_key(server, max_budget=0.000001, budget_duration="1s")["key"]
    assert [server.chat(key=key).status_code for _ in range(2)] == [200, 422]
    began = time.monotonic()
    eventually(lambda: server.chat(key=key).status_code == 200)
    assert time.monotonic() - began < 6
    server.wait_log("budget_reset kind=key")


def test_proxy_batch_write_at(start):
    server = start(proxy_batch_write_at=2)
    key = new_key(server)["key"]
    assert server.chat(key=key).status_code == 200
    began = time.monotonic()
    eventually(lambda: get(server, "/spend/logs", api_key=key))
    assert time.monotonic() - began < 5, "written at least that often"


def test_database_connection_pool_limit(start, database, store):
    if not store:
        pytest.skip("about Postgres")
    from concurrent.futures import ThreadPoolExecutor

    def connections():
        # This asks by psql, and one that has asked may not quite be gone.
        sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'psql'"
        return int(database.query(sql)[0][0])

    eventually(lambda: connections() == 0)
    server = start(database_connection_pool_limit=2, database_url=store["database_url"].split("?")[0])
    most = 0
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(new_key, server) for _ in range(100)]
        while not all(one.done() for one in asked):
            most = max(most, connections())
        assert len({one.result()["key"] for one in asked}) == 100
    # Besides those that answer there is one that listens for changes.
    assert 2 <= most <= 2 + 1, most


def test_allow_requests_on_db_unavailable_and_database_connection_timeout(start, gateway, upstream):
    import postgres

    made = postgres.Postgres()
    try:
        for allowed, status in ((False, 503), (True, 200)):
            settings = {"allow_requests_on_db_unavailable": allowed, "database_connection_timeout": 2, "database_url": made.url}
            server = start(**settings)
            known, unknown = new_key(server)["key"], new_key(server)["key"]
            # An instance that has just started knows no key.
            assert server.terminate() == 0
            server = start(**settings)
            assert server.chat(key=known).status_code == 200
            made.stop()
            began = time.monotonic()
            assert server.chat(key=unknown).status_code == status
            assert server.chat(key=known).status_code == 200, "who is known goes on"
            answer = server.post("/key/generate", {}, key=KEY)
            assert answer.status_code == 503 and error(answer)["type"] == "no_db_connection", answer.text
            assert time.monotonic() - began < 15
            made.start()
            server.stop()
    finally:
        made.close()


@pytest.mark.parametrize("stream", [False, True])
def test_store_prompts_in_spend_logs(start, upstream, stream):
    server = start(store_prompts_in_spend_logs=True)
    key = new_key(server)["key"]
    assert server.chat(key=key, content="what I asked", stream=stream).status_code == 200
    eventually(lambda: get(server, "/spend/logs", api_key=key))
    row = get(server, "/spend/logs", api_key=key)[0]["request_id"]

    def texts():
        return get(server, f"/spend/logs/ui/{row}")

    eventually(lambda: texts()["messages"])
    found = texts()
    assert found["messages"] == [{"role": "user", "content": "what I asked"}]
    assert found["response"]["choices"][0]["message"]["content"], found
    assert found["proxy_server_request"]["model"] == "m"


def test_store_prompts_in_spend_logs_is_off_by_default(start):
    server = start()
    key = new_key(server)["key"]
    assert server.chat(key=key, content="canary of the prompt").status_code == 200
    eventually(lambda: get(server, "/spend/logs", api_key=key))
    row = get(server, "/spend/logs", api_key=key)[0]["request_id"]
    time.sleep(1)
    assert get(server, f"/spend/logs/ui/{row}") == {"messages": {}, "response": {}, "proxy_server_request": {}}


def test_use_redis_transaction_buffer(start):
    server = start(use_redis_transaction_buffer=True)
    key = new_key(server)["key"]
    assert [server.chat(key=key).status_code for _ in range(3)] == [200, 200, 200]
    # Three calls of the mock's usage, each once.
    eventually(lambda: len(get(server, "/spend/logs", api_key=key)) == 3)
    rows = get(server, "/spend/logs", api_key=key)
    eventually(lambda: abs(get(server, "/key/info", key=key)["info"]["spend"] - sum(r["spend"] for r in rows)) < 1e-9)
    assert "use_redis_transaction_buffer" not in server.log, "it is no parameter without an effect to come"


@pytest.mark.parametrize("as_file", [False, True])
def test_banned_keywords_list(start, upstream, tmp_path, as_file):
    words = tmp_path / "words.txt"
    words.write_text("forbidden\n\nsecret plan\n")
    server = start(litellm={"banned_keywords_list": str(words) if as_file else ["forbidden", "Secret Plan"]})
    for text in ("this is FORBIDDEN here", "the secret plan", "f\\u006frbidden".encode().decode("unicode_escape")):
        refused = server.chat(key=KEY, content=text)
        assert refused.status_code == 400 and "Keyword banned" in error(refused)["message"], refused.text
    raw = b'{"model":"m","messages":[{"role":"user","content":"f\\u006frbidden"}]}'
    escaped = server.client.post("/v1/chat/completions", content=raw, headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"})
    assert escaped.status_code == 400, "escapes hide nothing"
    assert not upstream.requests
    assert server.chat(key=KEY, content="all is well").status_code == 200


def test_extra_spend_tag_headers(start):
    server = start(litellm={"extra_spend_tag_headers": ["x-team", "x-stage"]})
    key = new_key(server)["key"]
    answer = server.chat(key=key, headers={"X-Team": "blue", "x-else": "no"}, metadata={"tags": ["own"]})
    assert answer.status_code == 200
    eventually(lambda: get(server, "/spend/logs", api_key=key))
    assert get(server, "/spend/logs", api_key=key)[0]["request_tags"] == ["own", "x-team: blue"]

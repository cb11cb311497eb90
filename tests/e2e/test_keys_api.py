"""Keys, teams, users and the rest over HTTP, on the embedded store and on a real Postgres."""

import hashlib
import time

import pytest

from gateway import KEY, admin, config, entry, error, get, new_key


@pytest.fixture(scope="module")
def server(store, shared_upstream, shared_gateway):
    return shared_gateway(config(
        entry("m", shared_upstream), entry("other", shared_upstream),
        entry("beta-1", shared_upstream, info={"access_groups": ["beta"]}),
        entry("openai/*", shared_upstream, model="openai/*"),
        general={"master_key": KEY, **store}))


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


def test_key_generate_and_use(server, upstream):
    made = new_key(server, key_alias="first", models=["m"], metadata={"team": "blue"}, duration="1h")
    key = made["key"]
    assert key.startswith("sk-") and len(key) == 25
    assert made["token"] == made["token_id"] == hashlib.sha256(key.encode()).hexdigest()
    assert made["key_name"] == "sk-..." + key[-4:]
    assert made["expires"].endswith("Z")
    answer = server.chat(key=key)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-litellm-key-spend"] == "0.0"
    info = get(server, "/key/info", key=key)
    assert info["key"] == key and "token" not in info["info"]
    assert info["info"]["key_alias"] == "first" and info["info"]["metadata"] == {"team": "blue"}
    assert get(server, "/key/info", by=key)["info"]["key_alias"] == "first"


def test_unknown_wrong_and_missing_keys(server, upstream):
    unknown = server.chat(key="sk-nobody-has-this-key")
    assert unknown.status_code == 401
    assert error(unknown)["type"] == "token_not_found_in_db"
    assert hashlib.sha256(b"sk-nobody-has-this-key").hexdigest() in error(unknown)["message"]
    assert "sk-nobody-has-this-key" not in unknown.text
    wrong = server.chat(key="not-a-key")
    assert wrong.status_code == 401 and error(wrong)["type"] == "auth_error"
    assert server.chat().status_code == 401
    assert not upstream.requests


def test_model_access(server, upstream):
    key = new_key(server, models=["m", "beta", "openai/gpt-*"])["key"]
    for model in ("m", "beta-1", "openai/gpt-9"):
        assert server.chat(model, key=key).status_code == 200, model
    for model in ("other", "openai/o1"):
        denied = server.chat(model, key=key)
        assert denied.status_code == 403, denied.text
        assert error(denied)["type"] == "key_model_access_denied" and error(denied)["param"] == "model"
        assert error(denied)["code"] == "403"


def test_access_groups(server, upstream):
    """`model_info.access_groups`: keys and teams are given models by the group's name."""
    key = new_key(server, models=["beta"])["key"]
    assert server.chat("beta-1", key=key).status_code == 200
    assert server.chat("m", key=key).status_code == 403
    team = admin(server, "/team/new", {"models": ["beta"]})["team_id"]
    of_team = new_key(server, team_id=team)["key"]
    assert server.chat("beta-1", key=of_team).status_code == 200
    assert server.chat("m", key=of_team).status_code == 403
    assert [model["id"] for model in get(server, "/v1/models", by=of_team)["data"]] == ["beta-1"]


def test_key_update_block_delete(server, upstream):
    made = new_key(server, models=["m"])
    key = made["key"]
    assert server.chat(key=key).status_code == 200
    assert server.chat("other", key=key).status_code == 403
    admin(server, "/key/update", {"key": key, "models": ["m", "other"]})
    assert server.chat("other", key=key).status_code == 200
    admin(server, "/key/block", {"key": key})
    blocked = server.chat(key=key)
    assert blocked.status_code == 401 and error(blocked)["type"] == "auth_error"
    admin(server, "/key/unblock", {"key": key})
    assert server.chat(key=key).status_code == 200
    assert admin(server, "/key/delete", {"keys": [key]}) == {"deleted_keys": [key]}
    gone = server.chat(key=key)
    assert gone.status_code == 401 and error(gone)["type"] == "token_not_found_in_db"


def test_key_expires(server, upstream):
    key = new_key(server, duration="1s")["key"]
    assert server.chat(key=key).status_code == 200
    time.sleep(1.1)
    expired = server.chat(key=key)
    assert expired.status_code == 401 and error(expired)["type"] == "expired_key"


def test_key_regenerate(server, upstream):
    made = new_key(server, key_alias="rotated", models=["m"])
    again = admin(server, f"/key/{made['key']}/regenerate", {})
    assert again["key"] != made["key"] and again["key_alias"] == "rotated"
    assert server.chat(key=made["key"]).status_code == 401
    assert server.chat(key=again["key"]).status_code == 200
    third = admin(server, "/key/regenerate", {"key": again["key"], "max_budget": 3})
    assert third["max_budget"] == 3 and server.chat(key=third["key"]).status_code == 200


def test_key_rules(server):
    assert admin(server, "/key/generate", {"key": "no-prefix-but-long-enough"}, 400)["error"]["param"] == "key"
    admin(server, "/key/generate", {"key": "sk-short"}, 400)
    admin(server, "/key/generate", {"key": "sk-my-own-key-value-1"})
    admin(server, "/key/generate", {"key": "sk-my-own-key-value-1"}, 400)
    admin(server, "/key/generate", {"key_alias": "twice"})
    refused = admin(server, "/key/generate", {"key_alias": "twice"}, 400)
    assert "twice" in refused["error"]["message"]
    admin(server, "/key/generate", {"max_budget": -1}, 400)
    admin(server, "/key/generate", {"duration": "soon"}, 400)
    admin(server, "/key/update", {"key": "sk-nobody-has-this-one"}, 404)


def test_key_list_and_aliases(server):
    for i in range(3):
        new_key(server, user_id="lister", key_alias=f"list-{i}")
    listed = get(server, "/key/list", user_id="lister", size=2)
    assert listed["total_count"] == 3 and listed["total_pages"] == 2 and len(listed["keys"]) == 2
    assert all(isinstance(k, str) and len(k) == 64 for k in listed["keys"])
    full = get(server, "/key/list", user_id="lister", return_full_object="true")
    assert {k["key_alias"] for k in full["keys"]} == {"list-0", "list-1", "list-2"}
    assert set(get(server, "/key/aliases", search="list-")["aliases"]) >= {"list-0", "list-1", "list-2"}


def test_rpm_limit(server, upstream):
    key = new_key(server, rpm_limit=2)["key"]
    first = server.chat(key=key)
    assert first.headers["x-ratelimit-api_key-limit-requests"] == "2"
    assert first.headers["x-ratelimit-api_key-remaining-requests"] == "1"
    assert first.headers["x-litellm-key-rpm-limit"] == "2"
    assert server.chat(key=key).status_code == 200
    limited = server.chat(key=key)
    assert limited.status_code == 429
    assert error(limited)["type"] == "throttling_error" and error(limited)["code"] == "429"
    token = hashlib.sha256(key.encode()).hexdigest()
    assert error(limited)["message"].startswith(
        f"Rate limit exceeded for api_key: {token}. Limit type: requests. Current limit: 2, Remaining: 0.")
    assert 0 < int(limited.headers["retry-after"]) <= 60
    assert limited.headers["rate_limit_type"] == "requests"
    assert len(upstream.requests) == 2


def test_tpm_limit(server, upstream):
    key = new_key(server, tpm_limit=20)["key"]
    first = server.chat(key=key, max_tokens=10)
    assert first.status_code == 200, first.text
    seconds = [server.chat(key=key, max_tokens=10).status_code for _ in range(4)]
    assert 429 in seconds


def test_max_parallel_requests(server, upstream):
    import threading

    from mock import Answer
    import canned

    upstream.answer(Answer(body=canned.chat(), delay_s=0.6))
    key = new_key(server, max_parallel_requests=1)["key"]
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(server.chat(key=key).status_code)) for _ in range(3)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert sorted(statuses)[:1] != [429] and statuses.count(429) == 2, statuses


def test_model_rpm_limit(server, upstream):
    made = new_key(server, model_rpm_limit={"m": 1})
    assert made["metadata"]["model_rpm_limit"] == {"m": 1}
    key = made["key"]
    assert server.chat("m", key=key).status_code == 200
    limited = server.chat("m", key=key)
    assert limited.status_code == 429 and "model_per_key" in error(limited)["message"]
    assert server.chat("other", key=key).status_code == 200


def test_budget_spent(server, upstream):
    key = new_key(server, max_budget=1.0, spend=2.5)["key"]
    over = server.chat(key=key)
    assert over.status_code == 422, over.text
    assert error(over)["type"] == "budget_exceeded"
    assert error(over)["message"] == (
        f"Budget has been exceeded! Key=key (sk-...{key[-4:]}) Current cost: 2.5, Max budget: 1.0")


def test_aliases(server, upstream):
    key = new_key(server, models=["m"], aliases={"fast": "m"})["key"]
    answer = server.chat("fast", key=key)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "fast"


def test_allowed_routes_of_a_key(server, upstream):
    key = new_key(server, allowed_routes=["/v1/embeddings"])["key"]
    assert server.post("/v1/embeddings", {"model": "m", "input": "x"}, key=key).status_code == 200
    assert server.chat(key=key).status_code == 403
    reader = new_key(server, key_type="read_only")
    assert reader["allowed_routes"] == ["info_routes"]
    assert server.chat(key=reader["key"]).status_code == 403


def test_team(server, upstream):
    team = admin(server, "/team/new", {"team_alias": "blue", "models": ["m"], "rpm_limit": 100,
                                       "model_aliases": {"nick": "m"}})
    made = new_key(server, team_id=team["team_id"])
    key = made["key"]
    assert server.chat(key=key).status_code == 200
    assert server.chat("nick", key=key).status_code == 200
    denied = server.chat("other", key=key)
    assert denied.status_code == 403 and error(denied)["type"] == "team_model_access_denied"
    admin(server, "/team/model/add", {"team_id": team["team_id"], "models": ["other"]})
    assert server.chat("other", key=key).status_code == 200
    admin(server, "/team/block", {"team_id": team["team_id"]})
    assert server.chat(key=key).status_code == 401
    admin(server, "/team/unblock", {"team_id": team["team_id"]})
    assert server.chat(key=key).status_code == 200
    info = get(server, "/team/info", team_id=team["team_id"])
    assert info["team_info"]["team_alias"] == "blue" and len(info["keys"]) == 1
    admin(server, "/team/update", {"team_id": team["team_id"], "max_budget": 5, "budget_duration": "1d"})
    assert admin(server, "/team/delete", {"team_ids": [team["team_id"]]})["deleted_teams"] == [team["team_id"]]
    assert server.chat(key=key).status_code == 401
    get(server, "/team/info", status=404, team_id=team["team_id"])


def test_team_members(server):
    team = admin(server, "/team/new", {"team_alias": "crew"})["team_id"]
    added = admin(server, "/team/member_add", {"team_id": team, "max_budget_in_team": 1.5, "member": [
        {"role": "admin", "user_id": "boss"}, {"role": "user", "user_id": "hand"}]})
    assert [m["user_id"] for m in added["members_with_roles"]] == ["boss", "hand"]
    admin(server, "/team/member_add", {"team_id": team, "member": {"role": "user", "user_id": "hand"}}, 400)
    boss = new_key(server, user_id="boss")["key"]
    hand = new_key(server, user_id="hand")["key"]
    # A team's admin manages its members and keys; a plain member does not.
    admin(server, "/team/member_add", {"team_id": team, "member": {"role": "user", "user_id": "third"}}, key=boss)
    admin(server, "/team/member_add", {"team_id": team, "member": {"role": "user", "user_id": "x"}}, 403, key=hand)
    admin(server, "/key/generate", {"team_id": team, "user_id": "boss"}, key=boss)
    admin(server, "/key/generate", {"team_id": team}, 403, key=hand)
    admin(server, "/team/permissions_update", {"team_id": team, "team_member_permissions": ["/key/generate"]})
    admin(server, "/key/generate", {"team_id": team}, key=hand)
    admin(server, "/team/update", {"team_id": team, "max_budget": 99}, 403, key=boss)
    admin(server, "/team/member_update", {"team_id": team, "user_id": "hand", "role": "admin"})
    admin(server, "/team/member_delete", {"team_id": team, "user_id": "hand"})
    info = get(server, "/team/info", team_id=team)
    assert [m["user_id"] for m in info["team_info"]["members_with_roles"]] == ["boss", "third"]
    assert {m["user_id"] for m in info["team_memberships"]} == {"boss", "third"}


def test_user(server, upstream):
    made = admin(server, "/user/new", {"user_id": "ada", "user_email": "ada@example.com", "user_role": "internal_user",
                                       "models": ["m"], "max_budget": 10})
    assert made["key"].startswith("sk-") and made["user_id"] == "ada"
    admin(server, "/user/new", {"user_id": "ada"}, 409)
    admin(server, "/user/new", {"user_email": "ada@example.com"}, 409)
    assert server.chat("other", key=made["key"]).status_code == 403
    key = new_key(server, user_id="ada")["key"]
    assert server.chat("m", key=key).status_code == 200
    denied = server.chat("other", key=key)
    assert denied.status_code == 403 and error(denied)["type"] == "user_model_access_denied"
    own = admin(server, "/key/generate", {"models": ["m"]}, key=key)
    assert own["user_id"] == "ada"
    admin(server, "/key/generate", {"models": ["other"]}, 403, key=key)
    admin(server, "/key/generate", {"user_id": "somebody"}, 403, key=key)
    admin(server, "/key/generate", {"max_budget": 11}, 400, key=key)
    info = get(server, "/user/info", user_id="ada")
    assert info["user_info"]["user_email"] == "ada@example.com" and len(info["keys"]) == 3
    get(server, "/user/info", by=key, status=403, user_id="bob")
    admin(server, "/user/update", {"user_id": "ada", "models": ["m", "other"]})
    assert server.chat("other", key=key).status_code == 200
    admin(server, "/user/update", {"user_id": "ada", "max_budget": 1000}, 401, key=key)
    assert get(server, "/user/list", user_email="ada@example.com")["total"] == 1
    assert admin(server, "/user/delete", {"user_ids": ["ada"]}) == 1
    assert server.chat(key=key).status_code == 401


def test_roles(server):
    plain = new_key(server)["key"]
    refused = server.post("/key/generate", {}, key=plain)
    assert refused.status_code == 401 and error(refused)["type"] == "auth_error"
    viewer = admin(server, "/user/new", {"user_role": "proxy_admin_viewer"})["key"]
    assert server.post("/key/generate", {}, key=viewer).status_code == 403
    assert get(server, "/user/list", by=viewer)["total"] >= 1
    boss = admin(server, "/user/new", {"user_role": "proxy_admin"})["key"]
    assert admin(server, "/key/generate", {"user_id": "anybody"}, key=boss)["user_id"] == "anybody"
    assert server.post("/key/generate", {}).status_code == 401


def test_organization(server, upstream):
    made = admin(server, "/organization/new", {"organization_alias": "acme", "models": ["m"], "max_budget": 7})
    org = made["organization_id"]
    assert made["litellm_budget_table"]["max_budget"] == 7
    team = admin(server, "/team/new", {"organization_id": org, "models": ["m"]})["team_id"]
    admin(server, "/team/new", {"organization_id": org, "models": ["other"]}, 403)
    key = new_key(server, team_id=team)["key"]
    assert server.chat(key=key).status_code == 200
    admin(server, "/organization/member_add", {"organization_id": org,
                                               "member": {"role": "org_admin", "user_id": "chief"}})
    admin(server, "/user/update", {"user_id": "chief", "user_role": "org_admin"})
    chief = new_key(server, user_id="chief")["key"]
    admin(server, "/team/new", {"organization_id": org, "models": ["m"]}, key=chief)
    assert len(get(server, "/organization/info", organization_id=org)["teams"]) == 2
    answer = server.client.request("PATCH", "/organization/update", json={"organization_id": org, "max_budget": 9},
                                   headers={"authorization": f"Bearer {KEY}"})
    assert answer.json()["litellm_budget_table"]["max_budget"] == 9, answer.text
    answer = server.client.request("DELETE", "/organization/delete", json={"organization_ids": [org]},
                                   headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200, answer.text
    assert server.chat(key=key).status_code == 401


@pytest.mark.parametrize("name", ["customer", "end_user"])
def test_customer(server, name):
    who = f"{name}-1"
    made = admin(server, f"/{name}/new", {"user_id": who, "alias": "One", "max_budget": 2})
    assert made["litellm_budget_table"]["max_budget"] == 2
    admin(server, f"/{name}/new", {"user_id": who}, 400)
    admin(server, f"/{name}/update", {"user_id": who, "alias": "Two"})
    assert get(server, f"/{name}/info", end_user_id=who)["alias"] == "Two"
    admin(server, f"/{name}/block", {"user_ids": [who]})
    assert [r["blocked"] for r in get(server, f"/{name}/list") if r["user_id"] == who] == [True]
    admin(server, f"/{name}/unblock", {"user_ids": [who]})
    assert admin(server, f"/{name}/delete", {"user_ids": [who]})["deleted_customers"] == 1
    get(server, f"/{name}/info", status=404, end_user_id=who)


def test_budget(server):
    made = admin(server, "/budget/new", {"budget_id": "shared", "max_budget": 3, "budget_duration": "1d"})
    assert made["budget_reset_at"][10:19] == "T00:00:00"
    admin(server, "/budget/update", {"budget_id": "shared", "max_budget": 4})
    assert admin(server, "/budget/info", {"budgets": ["shared"]})[0]["max_budget"] == 4
    key = new_key(server, budget_id="shared", spend=5)["key"]
    assert server.chat(key=key).status_code == 422
    admin(server, "/budget/update", {"budget_id": "shared", "max_budget": 6})
    assert server.chat(key=key).status_code == 200
    assert any(b["budget_id"] == "shared" for b in get(server, "/budget/list"))
    admin(server, "/budget/delete", {"id": "shared"})
    assert server.chat(key=key).status_code == 200


def test_tag(server):
    admin(server, "/tag/new", {"name": "red", "description": "hot", "models": ["m"], "max_budget": 2})
    admin(server, "/tag/new", {"name": "red"}, 400)
    assert admin(server, "/tag/info", {"names": ["red"]})["red"]["litellm_budget_table"]["max_budget"] == 2
    admin(server, "/tag/update", {"name": "red", "description": "warm"})
    assert [t["description"] for t in get(server, "/tag/list") if t["name"] == "red"] == ["warm"]
    admin(server, "/tag/delete", {"name": "red"})


def test_credentials(server):
    canary = "sk-canary-credential-0123456789"
    admin(server, "/credentials", {"credential_name": "vendor", "credential_values": {"api_key": canary},
                                   "credential_info": {"custom_llm_provider": "openai"}})
    listed = get(server, "/credentials")
    assert canary not in str(listed) and listed["credentials"][0]["credential_name"] == "vendor"
    assert canary not in server.log
    answer = server.client.request("DELETE", "/credentials/vendor", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200


def test_a_row_of_litellm_stays_as_it_wrote_it(server, database, upstream):
    if "postgres" not in server.path.read_text():
        pytest.skip("about Postgres")
    token = hashlib.sha256(b"sk-made-by-litellm-itself").hexdigest()
    database.query(
        'INSERT INTO "LiteLLM_VerificationToken" (token, key_name, models, metadata, spend, policies, router_settings) '
        f"VALUES ('{token}', 'sk-...self', ARRAY['m'], '{{\"a\": 1}}', 0.5, ARRAY['p'], '{{\"x\": [1]}}')")
    assert server.chat(key="sk-made-by-litellm-itself").status_code == 200
    admin(server, "/key/update", {"key": "sk-made-by-litellm-itself", "rpm_limit": 9})
    row = database.query('SELECT rpm_limit, models, metadata, policies, router_settings, spend '
                         f"FROM \"LiteLLM_VerificationToken\" WHERE token = '{token}'")[0]
    assert row == ["9", "{m}", '{"a": 1}', "{p}", '{"x": [1]}', "0.5"]
    assert canonical_secret_free(database)


def canonical_secret_free(database):
    """No key stands in the database in clear."""
    return database.query('SELECT count(*) FROM "LiteLLM_VerificationToken" WHERE token LIKE \'sk-%\'') == [["0"]]

"""Budgets with prices, their resets, models in the database, and the reports of spend."""

import datetime
import json
import sqlite3
import subprocess
import time

import pytest

from gateway import BINARY, CLEAN, KEY, admin, config, entry, error, eventually, get

DAY = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


@pytest.fixture
def start(store, upstream, gateway):
    def run(*entries, **more):
        general = {"master_key": KEY, **store, **more.pop("general", {})}
        return gateway(config(*(entries or [entry("m", upstream)]), general=general, **more))

    run.kind = "postgres" if store else "sqlite"
    return run


def priced(upstream, name="m"):
    return entry(name, upstream, input_cost_per_token=0.001, output_cost_per_token=0.002)


def test_max_budget_binds_at_once(start, upstream):
    server = start(priced(upstream), entry("free", upstream, input_cost_per_token=0, output_cost_per_token=0))
    key = admin(server, "/key/generate", {"max_budget": 0.00001})["key"]
    first = server.chat(key=key, max_tokens=5)
    assert first.status_code == 200, first.text
    over = server.chat(key=key, max_tokens=5)
    assert over.status_code == 422 and error(over)["type"] == "budget_exceeded"
    assert server.chat("free", key=key).status_code == 200, "a free model is never blocked"
    assert float(server.chat("free", key=key).headers["x-litellm-key-spend"]) > 0


def test_team_and_user_budgets(start, upstream):
    server = start(priced(upstream))
    team = admin(server, "/team/new", {"max_budget": 0.00001})["team_id"]
    user = f"u-{time.time_ns()}"
    admin(server, "/user/new", {"user_id": user, "max_budget": 0.00001, "auto_create_key": False})
    of_team = admin(server, "/key/generate", {"team_id": team, "user_id": user})["key"]
    of_user = admin(server, "/key/generate", {"user_id": user})["key"]
    assert server.chat(key=of_team, max_tokens=5).status_code == 200
    over = server.chat(key=of_team, max_tokens=5)
    assert over.status_code == 422 and f"Team={team}" in error(over)["message"]
    # What the team's key spent is not its owner's.
    assert server.chat(key=of_user, max_tokens=5).status_code == 200
    over = server.chat(key=of_user, max_tokens=5)
    assert over.status_code == 422 and error(over)["message"].startswith(f"ExceededBudget: User={user} over budget.")


def test_budget_duration_resets(start, upstream):
    server = start(priced(upstream), general={"proxy_budget_rescheduler_min_time": 1,
                                              "proxy_budget_rescheduler_max_time": 1})
    key = admin(server, "/key/generate", {"max_budget": 0.00001, "budget_duration": "3s"})["key"]
    assert server.chat(key=key, max_tokens=5).status_code == 200
    assert server.chat(key=key, max_tokens=5).status_code == 422
    eventually(lambda: server.chat(key=key, max_tokens=5).status_code == 200, why="the budget never started anew")


def test_global_max_budget(upstream, gateway):
    server = gateway(config(priced(upstream), general={"master_key": KEY}, litellm={"max_budget": 0.00001}))
    key = admin(server, "/key/generate", {})["key"]
    assert server.chat(key=key, max_tokens=5).status_code == 200
    over = server.chat(key=key, max_tokens=5)
    assert over.status_code == 422 and "Proxy" in error(over)["message"]


def test_store_model_in_db(start, upstream):
    server = start(general={"store_model_in_db": True})
    canary = "sk-canary-provider-key-0123456789"
    name = f"stored-{time.time_ns()}"
    params = {"model": "openai/upstream-model", "api_base": upstream.url + "/v1", "api_key": canary}
    made = admin(server, "/model/new", {"model_name": name, "litellm_params": params})
    assert canary not in json.dumps(made)
    assert server.chat(name, key=KEY).status_code == 200
    assert upstream.last.header("authorization") == f"Bearer {canary}"
    assert name in [m["id"] for m in get(server, "/v1/models")["data"]]
    admin(server, "/model/new", {"model_name": "bad", "litellm_params": {"rpm": "many"}}, 400)
    identity = made["model_info"]["id"]
    admin(server, "/model/update", {"model_name": name + "-b", "model_info": {"id": identity}})
    assert server.chat(name + "-b", key=KEY).status_code == 200
    admin(server, "/model/delete", {"id": identity})
    assert server.chat(name + "-b", key=KEY).status_code == 400
    assert canary not in server.log


def test_store_model_in_db_is_off_by_default(start):
    admin(start(), "/model/new", {"model_name": "x", "litellm_params": {"model": "openai/x"}}, 400)


def test_stored_models_survive_a_restart(upstream, gateway):
    made = config(entry("m", upstream), general={"master_key": KEY, "store_model_in_db": True})
    one = gateway(made)
    params = {"model": "openai/upstream-model", "api_base": upstream.url + "/v1", "api_key": "sk-up"}
    admin(one, "/model/new", {"model_name": "kept", "litellm_params": params})
    assert one.terminate() == 0
    two = gateway(made)
    assert two.chat("kept", key=KEY).status_code == 200
    assert two.terminate() == 0
    other = gateway(made, env={"LITELLM_SALT_KEY": "another salt"})
    assert other.chat("kept", key=KEY).status_code == 400
    other.wait_log("LITELLM_SALT_KEY")


def test_models_are_those_of_the_key(start, upstream):
    server = start(entry("m", upstream), entry("other", upstream))
    key = admin(server, "/key/generate", {"models": ["m"]})["key"]
    assert [m["id"] for m in get(server, "/v1/models", by=key)["data"]] == ["m"]
    assert [m["id"] for m in get(server, "/v1/models")["data"]] == ["m", "other"]


def write_days(server, kind, database, key, user):
    """What a writer of spend leaves behind, put there by hand."""
    columns = ("id, {who}, date, api_key, model, model_group, custom_llm_provider, endpoint, mcp_namespaced_tool_name, "
               "prompt_tokens, completion_tokens, spend, api_requests, successful_requests, failed_requests, "
               "created_at, updated_at")
    numbers = "3, 4, 0.25, 2, 1, 1"
    zeros = ("cache_creation_input_tokens, cache_read_input_tokens, compression_saved_tokens, "
             "compression_savings_spend, prompt_caching_savings_spend, autorouter_savings_spend, "
             "gateway_injected_caching_savings_spend, total_response_time_ms, timed_requests")
    statements = []
    for table, who, value, more in (
            ("User", "user_id", user, ""), ("Team", "team_id", "team-x", ", ptu_flat_cost"), ("Tag", "tag", "tag-x", ""),
            ("EndUser", "end_user_id", "end-x", "")):
        rest = zeros + more
        statements.append(
            f'INSERT INTO "LiteLLM_Daily{table}Spend" ({columns.format(who=who)}, {rest}) VALUES '
            f"('{time.time_ns()}', '{value}', '{DAY}', '{key}', 'openai/x', 'x', 'openai', '', '', {numbers}, "
            f"'{DAY}T00:00:00', '{DAY}T00:00:00'{', 0' * (rest.count(',') + 1)})")
    for statement in statements:
        if kind == "postgres":
            database.query(statement, "reports")
        else:
            with sqlite3.connect(server.folder / "shardgate.db", timeout=10) as connection:
                connection.execute(statement)


def test_reports_of_spend(start, request):
    general = {}
    if start.kind == "postgres":
        # Its own database: what other tests spend is written too.
        made = request.getfixturevalue("database")
        made.query("CREATE DATABASE reports")
        general["database_url"] = made.url.replace("/postgres?", "/reports?")
    server = start(general=general)
    user = f"spender-{time.time_ns()}"
    admin(server, "/user/new", {"user_id": user, "user_role": "internal_user", "auto_create_key": False})
    made = admin(server, "/key/generate", {"user_id": user, "key_alias": user})
    write_days(server, start.kind, start.kind == "postgres" and request.getfixturevalue("database"), made["token"], user)
    assert get(server, "/global/spend")["spend"] == pytest.approx(0.25)
    assert get(server, "/global/spend/logs") == [{"date": DAY, "spend": 0.25}]
    keys = get(server, "/global/spend/keys")
    assert keys[0]["api_key"] == made["token"] and keys[0]["key_alias"] == user and keys[0]["total_spend"] == 0.25
    assert get(server, "/global/spend/models") == [{"model": "openai/x", "total_spend": 0.25}]
    assert get(server, "/global/spend/provider") == [{"provider": "openai", "spend": 0.25}]
    teams = get(server, "/global/spend/teams")
    assert teams["daily_spend"] == [{"date": DAY, "team-x": 0.25}]
    assert teams["total_spend_per_team"] == [{"team_id": "team-x", "total_spend": 0.25}]
    assert get(server, "/global/spend/tags")["spend_per_tag"] == [{"name": "tag-x", "spend": 0.25, "log_count": 2}]
    assert get(server, "/spend/tags")[0]["individual_request_tag"] == "tag-x"
    assert get(server, "/global/spend/all_tag_names") == {"tag_names": ["tag-x"]}
    assert get(server, "/global/all_end_users") == {"end_users": ["end-x"]}
    assert admin(server, "/global/spend/end_users", {})[0]["total_spend"] == 0.25
    activity = get(server, "/global/activity", start_date=DAY, end_date=DAY)
    assert activity == {"daily_data": [{"date": DAY, "api_requests": 2, "total_tokens": 7}],
                        "sum_api_requests": 2, "sum_total_tokens": 7}
    assert get(server, "/global/activity/model")[0]["model"] == "x"
    report = get(server, "/global/spend/report", group_by="team")
    assert report[0]["teams"][0]["team_name"] == "team-x"
    days = get(server, "/user/daily/activity", by=made["key"])
    assert days["metadata"]["total_spend"] == 0.25 and days["results"][0]["metrics"]["failed_requests"] == 1
    assert days["results"][0]["breakdown"]["models"]["openai/x"]["metrics"]["api_requests"] == 2
    assert get(server, "/spend/keys", by=made["key"])[0]["key_alias"] == user
    assert get(server, "/spend/users", by=made["key"])[0]["user_id"] == user
    assert isinstance(get(server, "/spend/logs"), list)
    assert get(server, "/spend/logs/ui")["page"] == 1
    get(server, "/global/spend", by=made["key"], status=401)
    get(server, "/global/spend", start_date="yesterday", status=400)


def test_spend_reaches_the_key_and_the_reports(start, upstream):
    server = start(priced(upstream), general={"proxy_batch_write_at": 1})
    made = admin(server, "/key/generate", {})
    answer = server.chat(key=made["key"], max_tokens=5)
    cost = float(answer.headers["x-litellm-response-cost"])
    assert answer.status_code == 200 and cost > 0
    spent = eventually(lambda: get(server, "/key/info", key=made["key"])["info"]["spend"], 15,
                       "the key's spend never reached the database")
    assert spent == pytest.approx(cost)
    rows = get(server, "/spend/logs", api_key=made["key"])
    assert [row["spend"] for row in rows] == [pytest.approx(cost)]
    assert rows[0]["api_key"] == made["token"] and rows[0]["model_group"] == "m"


def test_db_check_and_migrate(database, tmp_path):
    def run(*args):
        return subprocess.run([BINARY, "db", *args], capture_output=True, text=True, cwd=tmp_path, env=CLEAN, timeout=60)

    assert run("check").returncode == 1
    assert run("migrate").returncode == 0
    assert run("check").returncode == 0
    fresh = database.url.replace("/postgres?", "/fresh?")
    database.query("CREATE DATABASE fresh")
    missing = run("check", "--database-url", fresh)
    assert missing.returncode == 1 and "missing LiteLLM_VerificationToken" in missing.stdout
    assert run("migrate", "--database-url", fresh).returncode == 0
    again = run("migrate", "--database-url", fresh)
    assert again.returncode == 0 and "postgres: 0 additions" in again.stdout


def test_disable_prisma_schema_update(database, upstream, gateway):
    database.query("CREATE DATABASE old")
    old = database.url.replace("/postgres?", "/old?")
    general = {"master_key": KEY, "database_url": old, "disable_prisma_schema_update": True}
    server = gateway(config(entry("m", upstream), general=general), wait=False)
    assert server.process.wait(20) != 0
    assert "LiteLLM_VerificationToken" in server.log and "disable_prisma_schema_update" in server.log

"""`shardgate keys|teams|spend` against a running gateway, and `shardgate import litellm` against a database."""

import json
import subprocess
import time

import pytest

from gateway import BINARY, CLEAN, KEY, admin, config, entry, eventually, get


@pytest.fixture
def server(store, gateway, upstream):
    return gateway(config(entry("m", upstream, input_cost_per_token=0.001, output_cost_per_token=0.001),
                          general={"master_key": KEY, "proxy_batch_write_at": 0.1, **store}))


def shardgate(*words, env=None, code=0):
    done = subprocess.run([BINARY, *words], env={**CLEAN, **(env or {})}, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def asks(server):
    """A terminal that knows this gateway by its environment."""
    env = {"SHARDGATE_URL": server.base_url, "LITELLM_MASTER_KEY": KEY}
    return lambda *words, code=0: shardgate(*words, env=env, code=code)


def test_keys(server):
    ask = asks(server)
    made = json.loads(ask("keys", "create", "--alias", "from the terminal", "--models", "m", "--max-budget", "2.5", "--json").stdout)
    key = made["key"]
    assert server.chat(key=key).status_code == 200
    shown = ask("keys", "info", key).stdout
    assert "from the terminal" in shown and "2.5" in shown and key not in shown
    listed = ask("keys", "list").stdout.splitlines()
    assert listed[0].split()[:2] == ["KEY", "ALIAS"] and any("from the terminal" in line for line in listed[1:])
    ask("keys", "update", key, "--models", "other")
    assert server.chat(key=key).status_code == 403
    ask("keys", "update", key, "--models", "m")
    assert "blocked" in ask("keys", "block", key).stdout
    assert server.chat(key=key).status_code == 401
    ask("keys", "unblock", key)
    fresh = json.loads(ask("keys", "rotate", key, "--grace-period", "1h", "--json").stdout)["key"]
    assert fresh != key and server.chat(key=fresh).status_code == 200
    assert server.chat(key=key).status_code == 200, "the old one works on within its grace"
    assert "deleted 1" in ask("keys", "delete", fresh).stdout
    assert server.chat(key=fresh).status_code == 401 and server.chat(key=key).status_code == 401


def test_keys_says_what_is_wrong(server):
    ask = asks(server)
    assert "Key not found" in ask("keys", "info", "sk-nobody-has-this", code=1).stderr
    wrong = shardgate("keys", "list", "--url", server.base_url, "--api-key", "sk-wrong-wrong-wrong-1", code=1)
    assert "401" in wrong.stderr and "sk-wrong-wrong" not in wrong.stderr
    assert "no key" in shardgate("keys", "list", "--url", server.base_url, code=1).stderr
    away = shardgate("keys", "list", "--url", "http://127.0.0.1:9", "--api-key", KEY, code=1)
    assert "no gateway answers at http://127.0.0.1:9" in away.stderr and KEY not in away.stderr


def test_teams(server):
    ask = asks(server)
    team = json.loads(ask("teams", "create", "--alias", "blue", "--max-budget", "9", "--json").stdout)["team_id"]
    user = admin(server, "/user/new", {"user_id": f"u{time.time_ns()}"})["user_id"]
    ask("teams", "add-member", team, user, "--max-budget", "1")
    assert user in ask("teams", "info", team).stdout
    ask("teams", "update", team, "--alias", "green")
    assert "green" in ask("teams", "list").stdout
    ask("teams", "block", team)
    assert get(server, "/team/info", team_id=team)["team_info"]["blocked"] is True
    ask("teams", "unblock", team)
    ask("teams", "remove-member", team, user)
    assert user not in ask("teams", "info", team).stdout
    ask("teams", "delete", team)
    get(server, "/team/info", team_id=team, status=404)


def test_spend(server):
    ask = asks(server)
    key = json.loads(ask("keys", "create", "--alias", "payer", "--json").stdout)["key"]
    assert server.chat(key=key).status_code == 200
    eventually(lambda: "payer" in ask("spend", "keys").stdout)
    assert "openai/upstream-model" in ask("spend", "models").stdout
    assert "openai" in ask("spend", "providers").stdout
    assert "success" in ask("spend", "calls", "--limit", "1").stdout
    for by in ("total", "days", "users", "teams", "tags"):
        ask("spend", by)
    assert json.loads(ask("spend", "--json").stdout)["spend"] > 0
    assert "400" in ask("spend", "days", "--from", "soon", code=1).stderr


def test_import_litellm(database, gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"master_key": KEY, "store_model_in_db": True, "database_url": database.url}),
                     env={"LITELLM_SALT_KEY": "the salt"})
    admin(server, "/key/generate", {"key_alias": "imported"})
    params = {"model": "openai/x", "api_key": "sk-sealed-canary-0123"}
    admin(server, "/model/new", {"model_name": "stored", "litellm_params": params})
    place = ("import", "litellm", "--database-url", database.url)
    good = shardgate(*place, env={"LITELLM_SALT_KEY": "the salt"})
    lines = {line.split("  ")[0]: line for line in good.stdout.splitlines() if "  " in line}
    assert "works" in lines["keys"] and "works" in lines["models"] and "complete" in lines["schema"]
    assert "sk-sealed-canary" not in good.stdout
    wrong = shardgate(*place, env={"LITELLM_SALT_KEY": "another"}, code=1)
    assert "LOOK" in next(line for line in wrong.stdout.splitlines() if line.startswith("models"))
    database.query("INSERT INTO \"LiteLLM_GuardrailsTable\" (guardrail_id, guardrail_name, litellm_params, updated_at) "
                   "VALUES ('g', 'pii', '{}', now())")
    report = json.loads(shardgate(*place, "--json", env={"LITELLM_SALT_KEY": "the salt"}, code=1).stdout)
    guardrails = next(line for line in report if line["what"] == "guardrails")
    assert guardrails["count"] == 1 and guardrails["works"] is False
    assert "not available" in shardgate("import", "litellm", "--database-url", "postgresql://x@127.0.0.1:9/x", code=1).stderr

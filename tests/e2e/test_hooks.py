"""Python functions of the configuration: `custom_auth`, `custom_auth_run_common_checks`,
`custom_key_generate` and `litellm_jwtauth.custom_validate`, each test named after its parameter, on both
stores. The modules are written as they are for LiteLLM."""

import time

import pytest

from gateway import KEY, admin, config, entry, error
from idp import hs

AUTH = '''
import os
from fastapi import HTTPException, Request
from litellm.proxy._types import ProxyException, UserAPIKeyAuth

calls = 0

async def check(request: Request, api_key: str) -> UserAPIKeyAuth:
    global calls
    calls += 1
    print("asked", calls, request.method, request.url.path, flush=True)
    if api_key == "die":
        os._exit(3)
    if api_key == "slow":
        import asyncio
        await asyncio.sleep(60)
    if api_key == "forbidden":
        raise HTTPException(status_code=403, detail="not on a Sunday")
    if api_key == "proxy":
        raise ProxyException(message="pay first", type="auth_error", param="key", code=402)
    if api_key == "nothing":
        return None
    if request.headers.get("X-Tenant") == "admin":
        return UserAPIKeyAuth(api_key=api_key, user_role="proxy_admin", user_id="boss")
    if api_key.startswith("instead:"):
        return api_key[8:]
    if not api_key.startswith("good"):
        raise Exception("who are you?")
    return UserAPIKeyAuth(api_key=api_key, user_id="u", models=["m"], max_budget=0.000001,
                          rpm_limit=2 if api_key == "good-limited" else None,
                          metadata={"colour": "blue"})
'''


@pytest.fixture
def start(store, gateway, upstream, tmp_path):
    """start(module text, **general): a gateway whose modules lie beside its configuration."""

    def made(text, master=KEY, jwt=None, python=None, **general):
        (tmp_path / "my_hooks.py").write_text(text)
        price = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001}
        settings = {**store, **({"master_key": master} if master else {}), **general}
        if jwt:
            settings |= {"enable_jwt_auth": True, "litellm_jwtauth": jwt}
        return gateway(config(entry("m", upstream, **price), entry("other", upstream, **price), general=settings),
                       env={"SHARDGATE_PYTHON": python} if python else {})

    return made


def says(answer, status, text):
    assert answer.status_code == status, answer.text
    assert text in error(answer)["message"], answer.text


def test_custom_auth(start):
    server = start(AUTH, custom_auth="my_hooks.check")
    assert server.chat(key="good-1").status_code == 200
    says(server.chat(key="bad"), 401, "who are you?")
    says(server.chat(key="forbidden"), 403, "not on a Sunday")
    says(server.chat(key="proxy"), 402, "pay first")
    says(server.chat(key="nothing"), 401, "custom_auth returned neither")
    says(server.chat(), 401, "who are you?")
    assert server.chat(key=KEY).status_code == 200, "the master key needs no verdict"
    # Limits of the identity hold, its models and its budget only with custom_auth_run_common_checks.
    assert [server.chat("other", key="good-limited").status_code for _ in range(3)] == [200, 200, 429]
    # The function sees the request, and may make somebody an administrator.
    boss = {"authorization": "Bearer x", "x-tenant": "admin"}
    assert server.client.get("/key/list", headers=boss).status_code == 200
    assert server.client.get("/budget/list", headers=boss).status_code == 200
    assert server.client.get("/budget/list", headers={"authorization": "Bearer good-1"}).status_code == 401


def test_custom_auth_is_remembered_like_a_key(start):
    server = start(AUTH, custom_auth="my_hooks.check")
    for count in range(5):
        assert server.chat(key="good-1", headers={"traceparent": f"00-{count:032x}-{count:016x}-01"}).status_code == 200
    assert server.log.count("asked") == 1, server.log
    assert server.chat(key="good-1", headers={"x-tenant": "other"}).status_code == 200
    assert server.log.count("asked") == 2, "another request may mean somebody else"


def test_custom_auth_returns_a_key(start):
    server = start(AUTH, custom_auth="my_hooks.check")
    key = admin(server, "/key/generate", {"models": ["m"]})["key"]
    assert server.chat(key=f"instead:{key}").status_code == 200
    says(server.chat("other", key=f"instead:{key}"), 403, "other")
    admin(server, "/key/delete", {"keys": [key]})
    assert server.chat(key=f"instead:{key}").status_code == 401, "it ends with the key"
    assert server.chat(key=f"instead:{KEY}").status_code == 200


def test_custom_auth_fails_closed(start):
    server = start(AUTH, custom_auth="my_hooks.check")
    says(server.chat(key="slow"), 503, "custom_auth could not be asked")
    says(server.chat(key="die"), 503, "custom_auth could not be asked")
    server.wait_log("python_ended")
    until = time.monotonic() + 20
    while server.chat(key=f"good-{time.monotonic_ns()}").status_code != 200:
        assert time.monotonic() < until, "it was never started again"
        time.sleep(0.2)
    server.terminate()


def test_custom_auth_without_a_master_key_leaves_nothing_open(start):
    server = start(AUTH, master=None, custom_auth="my_hooks.check")
    says(server.chat(), 401, "who are you?")
    says(server.post("/key/generate", {}), 401, "who are you?")
    assert server.chat(key="good-1").status_code == 200


def test_custom_auth_that_cannot_be_loaded_is_a_clear_error(start):
    for path, why in (("my_hooks.nobody", "custom_auth: my_hooks.nobody: AttributeError"),
                      ("no_module.check", "custom_auth: no_module.check: ModuleNotFoundError")):
        with pytest.raises(Exception) as failed:
            start(AUTH, custom_auth=path)
        assert why in str(failed.value), failed.value
    with pytest.raises(Exception) as failed:
        start(AUTH, custom_auth="my_hooks.check", python="/nowhere/python3")
    assert "custom_auth needs Python" in str(failed.value) and "SHARDGATE_PYTHON" in str(failed.value)


def test_custom_auth_run_common_checks(start):
    server = start(AUTH, custom_auth="my_hooks.check", custom_auth_run_common_checks=True)
    says(server.chat("other", key="good-1"), 403, "other")
    assert server.chat(key="good-2").status_code == 200
    assert server.chat(key="good-2").status_code == 422, "the budget that it named is spent"


GENERATE = '''
async def decide(data):
    if not data.team_id:
        return {"decision": False, "message": "keys belong to teams"}
    if data.key_alias == "chosen":
        return "sk-chosen-by-the-function-" + data.team_id
    return {"decision": True}

def plain(data):
    return {"decision": data.key_alias == "yes"}
'''


def test_custom_key_generate(start):
    server = start(GENERATE, custom_key_generate="my_hooks.decide")
    says(server.post("/key/generate", {}, key=KEY), 403, "keys belong to teams")
    team = admin(server, "/team/new", {})["team_id"]
    key = admin(server, "/key/generate", {"team_id": team})["key"]
    assert server.chat(key=key).status_code == 200
    chosen = admin(server, "/key/generate", {"team_id": team, "key_alias": "chosen"})["key"]
    assert chosen == f"sk-chosen-by-the-function-{team}" and server.chat(key=chosen).status_code == 200
    admin(server, "/key/delete", {"keys": [chosen]})
    server.terminate()
    server = start(GENERATE, custom_key_generate="my_hooks.plain")
    says(server.post("/key/generate", {}, key=KEY), 403, "Custom Auth Rule")
    admin(server, "/key/delete", {"keys": [admin(server, "/key/generate", {"key_alias": "yes"})["key"]]})


VALIDATE = '''
def validate(token):
    if token.get("sub") == "error":
        raise Exception("no such person")
    return token.get("tenant") == "ours"
'''


def test_custom_validate(start):
    secret = "a secret that both sides share"
    server = start(VALIDATE, jwt={"secret": secret, "custom_validate": "my_hooks.validate"})
    claims = {"sub": "u", "exp": time.time() + 600}
    assert server.chat(key=hs({**claims, "tenant": "ours"}, secret)).status_code == 200
    says(server.chat(key=hs({**claims, "tenant": "theirs"}, secret)), 401, "custom_validate refuses")
    says(server.chat(key=hs({**claims, "sub": "error"}, secret)), 401, "no such person")
    assert server.chat(key=KEY).status_code == 200

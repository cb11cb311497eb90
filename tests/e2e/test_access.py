"""What requests must bring, may bring and may not: `general_settings` about access, one test each, on
both stores."""

import time

import pytest

from gateway import KEY, admin, config, entry, says


@pytest.fixture
def start(store, gateway, upstream):
    """start(**general): a gateway on this store; `entries`, `litellm`, `env` are taken out."""

    def made(entries=None, litellm=None, env=None, master=KEY, **general):
        settings = {**store, **({"master_key": master} if master else {}), **general}
        entries = entries or [entry("m", upstream), entry("other", upstream)]
        return gateway(config(*entries, general=settings, litellm=litellm), env=env or {})

    return made


def test_enforced_params(start):
    server = start(enforced_params=["user", "metadata.generation_name"])
    says(server.chat(key=KEY), 400, "user")
    says(server.chat(key=KEY, user="u", metadata={"generation_name": None}), 400, "metadata.generation_name")
    assert server.chat(key=KEY, user="u", metadata={"generation_name": "g"}).status_code == 200


def test_enforced_params_of_a_key(start):
    server = start()
    key = admin(server, "/key/generate", {"enforced_params": ["user"]})["key"]
    says(server.chat(key=key), 400, "user")
    assert server.chat(key=key, user="u").status_code == 200
    assert server.chat(key=KEY).status_code == 200


def test_service_account_settings(start):
    server = start(service_account_settings={"enforced_params": ["user"], "settings": {"rpm": 2}})
    team = admin(server, "/team/new", {})["team_id"]
    key = admin(server, "/key/service-account/generate", {"team_id": team, "rpm_limit": 100})["key"]
    says(server.chat(key=key), 400, "user")
    assert [server.chat(key=key, user="u").status_code for _ in range(3)] == [200, 200, 429]
    plain = admin(server, "/key/generate", {"team_id": team})["key"]
    assert [server.chat(key=plain).status_code for _ in range(3)] == [200, 200, 200]


def test_reject_clientside_metadata_tags(start):
    server = start(reject_clientside_metadata_tags=True)
    says(server.chat(key=KEY, metadata={"tags": ["a"]}), 400, "reject_clientside_metadata_tags")
    assert server.chat(key=KEY, headers={"x-litellm-tags": "a"}).status_code == 400
    assert server.chat(key=KEY, metadata={"x": 1}).status_code == 200
    key = admin(server, "/key/generate", {"metadata": {"tags": ["mine"]}})["key"]
    assert server.chat(key=key).status_code == 200


def test_user_header_name(start):
    server = start(user_header_name="X-OpenWebUI-User-Id")
    name = f"e{time.monotonic_ns()}"
    admin(server, "/customer/new", {"user_id": name, "blocked": True})
    says(server.chat(key=KEY, headers={"x-openwebui-user-id": name}), 401, name)
    assert server.chat(key=KEY, headers={"x-else": name}).status_code == 200


def test_user_header_mappings(start):
    server = start(user_header_mappings=[{"header_name": "X-Customer", "litellm_user_role": "customer"},
                                         {"header_name": "X-Mail", "litellm_user_role": "internal_user"}])
    name = f"e{time.monotonic_ns()}"
    admin(server, "/customer/new", {"user_id": name, "blocked": True})
    says(server.chat(key=KEY, headers={"x-customer": name}), 401, name)
    assert server.chat(key=KEY, headers={"x-mail": name}).status_code == 200


def test_infer_model_from_keys(start, upstream):
    entries = [entry("m", upstream, model="openai/the-m"), entry("other", upstream, model="openai/the-other")]
    server = start(entries, infer_model_from_keys=True)
    key = admin(server, "/key/generate", {"models": ["other", "m"]})["key"]
    assert server.chat("m", key=key).status_code == 200
    assert upstream.last.json["model"] == "the-other"
    body = {"messages": [{"role": "user", "content": "hi"}]}
    assert server.post("/v1/chat/completions", body, key=key).status_code == 200
    assert server.chat("m", key=KEY).status_code == 200 and upstream.last.json["model"] == "the-m"
    off = start(entries)
    key = admin(off, "/key/generate", {"models": ["other", "m"]})["key"]
    assert off.chat("m", key=key).status_code == 200 and upstream.last.json["model"] == "the-m"


RESERVED = ["api_base", "base_url", "api_key", "user_config"]


@pytest.mark.parametrize("name", RESERVED)
def test_reserved_fields_at_any_depth(start, upstream, name):
    server = start()
    evil = {name: "http://evil.example"}
    nested = [evil, {"metadata": {"a": [{"b": evil}]}}, {"extra_body": evil}, {"litellm_params": evil},
              {"fallbacks": [{"model": "other", **evil}]}, {"litellm_metadata": evil}]
    for body in nested:
        says(server.chat(key=KEY, **body), 401, name)
    escaped = name.replace("a", "\\u0061", 1) if "a" in name else name
    raw = '{"model":"m","messages":[{"role":"user","content":"x"}],"metadata":{"x":{"%s":"y"}}}' % escaped
    answer = server.client.post("/v1/chat/completions", content=raw, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 401, answer.text
    assert not upstream.requests
    # What the model is told about is its own business.
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {name: {"type": "string"}}}}}]
    assert server.chat(key=KEY, tools=tools).status_code == 200


def test_allow_client_side_credentials(start, upstream, upstreams):
    theirs = upstreams()
    server = start(allow_client_side_credentials=True)
    assert server.chat(key=KEY, api_key="sk-their-own-key").status_code == 200
    assert upstream.last.header("authorization") == "Bearer sk-their-own-key"
    assert "api_key" not in upstream.last.json and "sk-their-own-key" not in server.log
    assert server.chat(key=KEY).status_code == 200
    assert upstream.last.header("authorization") == "Bearer sk-upstream-key"
    seen = len(upstream.requests)
    answer = server.chat(key=KEY, api_key="sk-their-own-key", api_base=theirs.url + "/v1")
    assert answer.status_code == 200, answer.text
    assert theirs.last.header("authorization") == "Bearer sk-their-own-key" and len(upstream.requests) == seen
    by_name = theirs.url.replace("127.0.0.1", "localhost") + "/v1"
    assert server.chat(key=KEY, api_key="sk-their-own-key", base_url=by_name).status_code == 200
    # Our key goes nowhere else.
    says(server.chat(key=KEY, api_base=theirs.url + "/v1"), 400, "api_key")
    assert all("sk-upstream-key" not in r.header("authorization", "") for r in theirs.requests)
    says(server.chat(key=KEY, api_key="os.environ/HOME"), 400, "plain value")
    says(server.chat(key=KEY, user_config={"model_list": []}), 401, "user_config")


def test_configurable_clientside_auth_params(start, upstream, upstreams):
    theirs = upstreams()
    pattern = "^" + theirs.url + "/v1$"
    entries = [entry("m", upstream, configurable_clientside_auth_params=["api_key"]),
               entry("both", upstream, configurable_clientside_auth_params=["api_key", {"api_base": pattern}]), entry("other", upstream)]
    server = start(entries)
    assert server.chat("m", key=KEY, api_key="sk-their-own-key").status_code == 200
    assert upstream.last.header("authorization") == "Bearer sk-their-own-key"
    says(server.chat("other", key=KEY, api_key="sk-their-own-key"), 401, "api_key")
    says(server.chat("m", key=KEY, api_key="sk-x-x-x", api_base=theirs.url + "/v1"), 401, "api_base")
    assert server.chat("both", key=KEY, api_key="sk-x-x-x", api_base=theirs.url + "/v1").status_code == 200
    says(server.chat("both", key=KEY, api_key="sk-x-x-x", api_base="http://evil.example/v1"), 401, "api_base")


def test_dangerously_allow_mock_testing_request_params(start):
    says(start().chat(key=KEY, mock_testing_fallbacks=True), 400, "dangerously_allow_mock_testing_request_params")
    server = start(dangerously_allow_mock_testing_request_params=True)
    assert server.chat(key=KEY, mock_testing_rate_limit_error=True).status_code == 429


def test_allow_user_auth(start):
    server = start(allow_user_auth=True)
    server.wait_log("allow_user_auth.*keys with a `user_id`")
    assert server.chat(key=KEY).status_code == 200


def test_enable_key_alias_format_validation(start):
    server = start(litellm={"enable_key_alias_format_validation": True})
    stamp = str(time.monotonic_ns())
    admin(server, "/key/generate", {"key_alias": f"team/a.b@c-d_{stamp}"})
    for alias in ("x", "-leading", "with blank", "a" * 256, "semi;colon"):
        says(server.post("/key/generate", {"key_alias": alias}, key=KEY), 400, "key_alias")
    off = start()
    admin(off, "/key/generate", {"key_alias": f"with blank {stamp}"})


PRICES = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.002}


def cost(answer):
    return float(answer.headers["x-litellm-response-cost"])


def test_cost_discount_config(start, upstream):
    entries = [entry("m", upstream, **PRICES)]
    full = cost(start(entries).chat(key=KEY))
    answer = start(entries, litellm={"cost_discount_config": {"openai": 0.25}}).chat(key=KEY)
    assert cost(answer) == pytest.approx(full * 0.75)
    assert float(answer.headers["x-litellm-response-cost-original"]) == pytest.approx(full)
    assert float(answer.headers["x-litellm-response-cost-discount-amount"]) == pytest.approx(full * 0.25)
    assert cost(start(entries, litellm={"cost_discount_config": {"azure": 0.25}}).chat(key=KEY)) == full


def test_cost_margin_config(start, upstream):
    entries = [entry("m", upstream, **PRICES)]
    full = cost(start(entries).chat(key=KEY))
    answer = start(entries, litellm={"cost_margin_config": {"global": 0.1}}).chat(key=KEY)
    assert cost(answer) == pytest.approx(full * 1.1)
    own = {"global": 0.1, "openai": {"percentage": 0.5, "fixed_amount": 0.25}}
    answer = start(entries, litellm={"cost_margin_config": own}).chat(key=KEY)
    assert cost(answer) == pytest.approx(full * 1.5 + 0.25)
    assert float(answer.headers["x-litellm-response-cost-margin-amount"]) == pytest.approx(full * 0.5 + 0.25)


@pytest.mark.parametrize("name", ["max_user_budget", "max_end_user_budget"])
def test_max_end_user_budget(start, upstream, name):
    server = start([entry("m", upstream, **PRICES)], litellm={name: 0.000001})
    who = f"e{time.monotonic_ns()}"
    assert server.chat(key=KEY, user=who, max_tokens=1).status_code == 200
    says(server.chat(key=KEY, user=who, max_tokens=1), 422, who)
    assert server.chat(key=KEY).status_code == 200
    assert server.chat(key=KEY, user=who + "2", max_tokens=1).status_code == 200


def test_max_end_user_budget_id(start, upstream):
    name = f"b{time.monotonic_ns()}"
    server = start([entry("m", upstream, **PRICES)], litellm={"max_end_user_budget_id": name})
    admin(server, "/budget/new", {"budget_id": name, "rpm_limit": 1})
    who = f"e{time.monotonic_ns()}"
    assert server.chat(key=KEY, user=who).status_code == 200
    says(server.chat(key=KEY, user=who), 429, who)


def test_blocked_user_list(start, tmp_path):
    server = start(litellm={"blocked_user_list": ["mallory"]})
    says(server.chat(key=KEY, user="mallory"), 400, "User blocked")
    assert server.chat(key=KEY, user="alice").status_code == 200
    (tmp_path / "blocked.txt").write_text("eve\nmallory\n")
    server = start(litellm={"blocked_user_list": str(tmp_path / "blocked.txt")})
    says(server.chat(key=KEY, user="eve"), 400, "User blocked")


@pytest.mark.parametrize("kind, input_and_output", [("total", (429, 429)), ("input", (429, 200)), ("output", (200, 429))])
def test_token_rate_limit_type(start, upstream, kind, input_and_output):
    import mock
    server = start(token_rate_limit_type=kind)
    for used, expected in zip([(95, 2), (2, 95)], input_and_output):
        key = admin(server, "/key/generate", {"tpm_limit": 100})["key"]
        usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": "x", "usage": usage,
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}]}
        upstream.answer(mock.Answer(200, body))
        assert server.chat(key=key, max_tokens=5).status_code == 200
        assert server.chat(key=key, content="0123456789" * 4, max_tokens=20).status_code == expected, used

"""/utils/*, /spend/calculate and what /model/info says of prices and abilities."""

import pytest

from gateway import KEY, config, entry


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    return shared_gateway(config(
        entry("gpt", shared_upstream, model="openai/gpt-4o", rpm=10),
        entry("claude", shared_upstream.url, model="anthropic/claude-sonnet-4-5"),
        entry("own", shared_upstream, model="openai/unheard-of",
              info={"input_cost_per_token": 0.001, "output_cost_per_token": 0.002, "supports_vision": True}),
        general={"master_key": KEY}))


def get(server, path, **query):
    return server.client.get(path, params=query, headers={"authorization": f"Bearer {KEY}"})


def test_token_counter(server, shared_upstream):
    messages = [{"role": "user", "content": "hello world"}]
    answer = server.post("/utils/token_counter", {"model": "gpt", "messages": messages}, key=KEY).json()
    assert answer == {
        "total_tokens": 9, "request_model": "gpt", "model_used": "gpt-4o", "tokenizer_type": "openai_tokenizer"}
    assert server.post("/utils/token_counter", {"model": "x", "prompt": "hello world"}, key=KEY).json()["total_tokens"] == 2
    assert server.post("/utils/token_counter", {"model": "x"}, key=KEY).status_code == 400
    assert server.post("/utils/token_counter", {"model": "x", "prompt": "a"}, key="sk-wrong").status_code == 401
    assert server.post("/utils/token_counter", {"model": "gpt-4", "prompt": "a" * 2_000_000}, key=KEY).json()["total_tokens"] > 100_000
    assert not shared_upstream.requests


def test_supported_openai_params(server):
    def of(model):
        return set(get(server, "/utils/supported_openai_params", model=model).json()["supported_openai_params"])

    assert {"temperature", "tools", "logprobs", "seed", "n"} <= of("gpt")
    assert {"temperature", "tools", "stop", "thinking"} <= of("claude") and not {"logprobs", "seed", "n"} & of("claude")
    assert of("anthropic/claude-sonnet-4-5") == of("claude")
    assert get(server, "/utils/supported_openai_params", model="nobody/x").status_code in (200, 400)
    assert get(server, "/utils/supported_openai_params").status_code == 400


def test_transform_request(server, shared_upstream):
    body = {"model": "claude", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}
    answer = server.post("/utils/transform_request", {"call_type": "completion", "request_body": body}, key=KEY).json()
    assert answer["raw_request_api_base"] == shared_upstream.url + "/v1/messages"
    assert answer["raw_request_body"]["system"] == [{"type": "text", "text": "s"}]
    assert answer["raw_request_headers"]["x-api-key"] == "*****" and "sk-upstream" not in str(answer)
    refused = server.post("/utils/transform_request", {"call_type": "nothing", "request_body": body}, key=KEY)
    assert refused.status_code == 400 and "call_type" in refused.text


def test_spend_calculate(server):
    def cost(**body):
        return server.post("/spend/calculate", body, key=KEY)

    answer = {"model": "x", "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}}
    assert cost(model="gpt", completion_response=answer).json()["cost"] == pytest.approx(0.0035)
    assert cost(model="own", completion_response=answer).json()["cost"] == pytest.approx(1.2)
    assert cost(model="anthropic/claude-sonnet-4-5", completion_response=answer).json()["cost"] == pytest.approx(0.0045)
    messages = [{"role": "user", "content": "hello world"}]
    assert cost(model="gpt", messages=messages).json()["cost"] == pytest.approx(9 * 2.5e-6)
    assert cost(model="gpt").status_code == 400 and cost(model="unheard", messages=messages).status_code == 400


def test_model_info_has_prices_and_abilities(server):
    infos = {one["model_name"]: one["model_info"] for one in get(server, "/model/info").json()["data"]}
    assert infos["gpt"]["input_cost_per_token"] == pytest.approx(2.5e-6) and infos["gpt"]["mode"] == "chat"
    assert infos["gpt"]["supports_function_calling"] and infos["gpt"]["max_input_tokens"] == 128000
    assert infos["claude"]["cache_read_input_token_cost"] == pytest.approx(3e-7)
    assert infos["own"]["input_cost_per_token"] == 0.001 and infos["own"]["supports_vision"] is True


def test_model_group_info(server):
    groups = {one["model_group"]: one for one in get(server, "/model_group/info").json()["data"]}
    gpt = groups["gpt"]
    assert gpt["providers"] == ["openai"] and gpt["mode"] == "chat" and gpt["rpm"] == 10
    assert gpt["output_cost_per_token"] == pytest.approx(1e-5) and gpt["supports_vision"] is True
    assert "tools" in gpt["supported_openai_params"]


def test_disable_token_counter(gateway, upstream):
    entries = [entry("m", upstream, model="openai/gpt-4o", info={"max_input_tokens": 20})]
    for off, expected in ((False, 400), (True, 200)):
        server = gateway(config(*entries, general={"master_key": KEY}, litellm={"disable_token_counter": off},
                                router={"enable_pre_call_checks": True}))
        counted = server.post("/utils/token_counter", {"model": "m", "prompt": "hello world"}, key=KEY).json()["total_tokens"]
        assert counted == (0 if off else 2)
        assert server.chat(key=KEY, content="hello " * 60).status_code == expected, "the window is looked at before only by counting"

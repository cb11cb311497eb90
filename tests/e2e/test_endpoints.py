"""Every endpoint of the data plane under every name it has, with and without /v1."""


import pytest

import canned
from gateway import KEY, config, entry
from mock import Answer

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
JSON_ENDPOINTS = {
    "chat/completions": CHAT,
    "completions": {"model": "m", "prompt": "hi"},
    "embeddings": {"model": "m", "input": "hi"},
    "images/generations": {"model": "m", "prompt": "hi"},
    "audio/speech": {"model": "m", "input": "hi", "voice": "alloy"},
    "moderations": {"model": "m", "input": "hi"},
    "responses": {"model": "m", "input": "hi"},
}
MULTIPART_ENDPOINTS = {
    "images/edits": ("image", {"prompt": "a hat"}),
    "images/variations": ("image", {}),
    "audio/transcriptions": ("file", {}),
    "audio/translations": ("file", {}),
}


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    return shared_gateway(config(
        entry("m", shared_upstream), entry("with/slash", shared_upstream),
        entry("rank", shared_upstream, model="hosted_vllm/ranker"), entry("group-of-two", shared_upstream),
        entry("group-of-two", shared_upstream, model="openai/second", info={"id": "fixed-id", "note": {"any": 1}}),
        router={"model_group_alias": {"seen": "m", "hidden": {"model": "m", "hidden": True}}}))


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


@pytest.mark.parametrize("prefix", ["/v1/", "/"])
@pytest.mark.parametrize("name", JSON_ENDPOINTS)
def test_json_endpoint(server, upstream, prefix, name):
    answer = server.post(prefix + name, JSON_ENDPOINTS[name])
    assert answer.status_code == 200, answer.text
    assert upstream.only.method == "POST" and upstream.only.path == f"/v1/{name}"
    assert upstream.only.json["model"] == "upstream-model"


@pytest.mark.parametrize("prefix", ["/v1/", "/"])
@pytest.mark.parametrize("name", MULTIPART_ENDPOINTS)
def test_multipart_endpoint(server, upstream, prefix, name):
    field, more = MULTIPART_ENDPOINTS[name]
    data = bytes(range(256)) * 40
    answer = server.client.post(prefix + name, data={"model": "m", **more}, files={field: ("f.bin", data, "image/png")})
    assert answer.status_code == 200, answer.text
    got = upstream.only
    assert got.path == f"/v1/{name}" and data in got.body
    assert b"upstream-model" in got.body and b'name="model"' in got.body


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_rerank(server, upstream, path):
    body = {"model": "rank", "query": "q", "documents": ["a", "b"], "top_n": 2}
    answer = server.post(path, body)
    assert answer.status_code == 200, answer.text
    assert [r["index"] for r in answer.json()["results"]] == [1, 0]
    assert upstream.only.path.endswith("/rerank") and upstream.only.json["documents"] == ["a", "b"]


@pytest.mark.parametrize("name", ["chat/completions", "completions", "embeddings"])
@pytest.mark.parametrize("form", ["/engines/{}/", "/openai/deployments/{}/"])
def test_model_in_the_path(server, upstream, form, name):
    body = {k: v for k, v in JSON_ENDPOINTS[name].items() if k != "model"}
    answer = server.post(form.format("m") + name, body)
    assert answer.status_code == 200, answer.text
    assert upstream.only.json["model"] == "upstream-model"


def test_model_in_the_path_wins_over_the_body(server, upstream):
    assert server.post("/engines/m/chat/completions", {**CHAT, "model": "nope"}).status_code == 200


def test_model_in_the_path_with_a_slash(server, upstream):
    assert server.post("/openai/deployments/with/slash/chat/completions", CHAT).status_code == 200


@pytest.mark.parametrize("name", ["images/generations", "images/edits", "audio/speech", "audio/transcriptions"])
def test_azure_sdk_paths(server, upstream, name):
    path = f"/openai/deployments/m/{name}?api-version=2024-10-21"
    if name in MULTIPART_ENDPOINTS:
        field, more = MULTIPART_ENDPOINTS[name]
        answer = server.client.post(path, data=more, files={field: ("f", b"x", "image/png")})
    else:
        answer = server.post(path, JSON_ENDPOINTS[name])
    assert answer.status_code == 200, answer.text


# Models

@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_models(server, path):
    answer = server.client.get(path).json()
    assert answer["object"] == "list"
    names = [model["id"] for model in answer["data"]]
    assert sorted(names) == sorted(["m", "with/slash", "rank", "group-of-two", "seen"])
    assert all(m["object"] == "model" and m["owned_by"] == "openai" and m["created"] == 1677610602 for m in answer["data"])


def test_model_by_name(server):
    answer = server.client.get("/v1/models/m")
    assert answer.status_code == 200 and answer.json()["id"] == "m"


@pytest.mark.parametrize("path", ["/model/info", "/v1/model/info"])
def test_model_info(server, path):
    answer = server.client.get(path)
    assert answer.status_code == 200
    rows = answer.json()["data"]
    assert {row["model_name"] for row in rows} == {"m", "with/slash", "rank", "group-of-two"}
    second = next(row for row in rows if row["model_info"]["id"] == "fixed-id")
    assert second["model_info"]["note"] == {"any": 1} and second["litellm_params"]["model"] == "openai/second"
    assert "sk-upstream-key" not in answer.text and "api_key" not in second["litellm_params"]


def test_model_group_info(server):
    rows = server.client.get("/model_group/info").json()["data"]
    group = next(row for row in rows if row["model_group"] == "m")
    assert group["providers"] == ["openai"]


# Health

@pytest.mark.parametrize("path", ["/health/liveliness", "/health/liveness"])
def test_liveness(server, path):
    answer = server.client.get(path)
    assert answer.status_code == 200 and answer.json() == "I'm alive!"


def test_readiness(server):
    answer = server.client.get("/health/readiness")
    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy" and answer.json()["db"] == "Not connected"


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/liveness", "/health/readiness"])
def test_health_is_looked_at_and_nothing_else(server, path):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert server.client.request(method, path).status_code == 405, method
    assert server.client.head(path).status_code == server.client.options(path).status_code == 200


def test_health_calls_every_deployment(server, upstream):
    answer = server.client.get("/health")
    assert answer.status_code == 200
    report = answer.json()
    assert report["healthy_count"] + report["unhealthy_count"] == 5
    assert "sk-upstream-key" not in answer.text
    assert len(upstream.requests) >= 5


def test_health_of_a_failing_upstream(server, upstream):
    upstream.answer(Answer(500, canned.error("down")))
    report = server.client.get("/health").json()
    assert report["unhealthy_count"] == 5 and report["healthy_count"] == 0


@pytest.mark.parametrize("path", ["/health/liveliness", "/health/readiness"])
def test_health_is_public(shared_upstream, gateway, path):
    locked = gateway(config(entry("m", shared_upstream), general={"master_key": KEY}))
    assert locked.client.get(path).status_code == 200
    assert locked.client.get("/v1/models").status_code == 401


def test_unknown_path_and_wrong_method(server):
    assert server.client.get("/nothing/here").status_code == 404
    assert server.client.get("/v1/chat/completions").status_code == 405


# Azure and compatible hosts

def test_azure(upstreams, gateway):
    up = upstreams()
    server = gateway(config(entry("a", up.url, model="azure/my-deployment", api_version="2024-10-21")))
    answer = server.chat("a")
    assert answer.status_code == 200, answer.text
    got = up.only
    assert got.path == "/openai/deployments/my-deployment/chat/completions"
    assert got.query == {"api-version": "2024-10-21"} and got.header("api-key") == "sk-upstream-key"


def test_azure_ad_token(upstreams, gateway):
    up = upstreams()
    server = gateway(config(entry("a", up.url, model="azure/d", api_version="2024-10-21", api_key=None, azure_ad_token="eyToken")))
    assert server.chat("a").status_code == 200
    assert up.only.header("authorization") == "Bearer eyToken" and up.only.header("api-key") is None


def test_azure_api_version_as_a_yaml_date(upstreams, gateway):
    up = upstreams()
    text = f"""
model_list:
  - model_name: a
    litellm_params: {{model: azure/d, api_base: "{up.url}", api_key: k, api_version: 2024-10-21}}
"""
    assert gateway(text).chat("a").status_code == 200
    assert up.only.query == {"api-version": "2024-10-21"}


COMPATIBLE = [
    "openai", "custom_openai", "openai_like", "hosted_vllm", "vllm", "groq", "together_ai", "openrouter", "deepseek",
    "xai", "mistral", "codestral", "fireworks_ai", "perplexity", "nvidia_nim", "cerebras", "sambanova", "deepinfra",
    "github", "databricks", "lm_studio", "ai21_chat", "friendliai", "volcengine", "empower", "galadriel", "xinference",
    "anyscale", "litellm_proxy", "llamafile", "azure_ai", "novita", "featherless_ai", "nscale",
]


def test_compatible_hosts(upstreams, gateway):
    up = upstreams()
    entries = [entry(name, up, model=f"{name}/some-model", api_key=f"key-{name}") for name in COMPATIBLE]
    server = gateway(config(*entries))
    wrong = {}
    for name in COMPATIBLE:
        up.reset()
        answer = server.chat(name)
        got = up.requests[-1] if up.requests else None
        key = got and (got.header("authorization") or got.header("api-key") or "")
        if answer.status_code != 200 or not got or not got.path.endswith("/chat/completions") or f"key-{name}" not in key:
            wrong[name] = (answer.status_code, answer.text[:200], got and got.path)
    assert len(COMPATIBLE) - len(wrong) >= 30, wrong
    assert not wrong, wrong

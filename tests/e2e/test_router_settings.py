"""Rows of router_settings, by their names, whose effect is not about choosing a deployment: what the router
tells of itself, names and headers, models in no group. The others are in test_routing_*.py; rows about
Redis in test_fleet.py; num_retries, timeout, stream_timeout, client_ttl and default_litellm_params in
test_parameters.py."""

import canned
from gateway import KEY, config, entry
from mock import Answer
from routing import FAILS, settings


def test_router_state(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(FAILS)
    made = config(entry("m", bad, info={"id": "bad"}), entry("m", good, info={"id": "good"}, rpm=1000),
                  router=settings(allowed_fails=0, cooldown_time=60), general={"master_key": KEY})
    server = gateway(made)
    assert server.client.get("/router/state").status_code == 401
    for _ in range(20):
        server.chat(key=KEY)
    answer = server.client.get("/router/state", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200, answer.text
    state = answer.json()
    first, second = state["deployments"]
    assert (first["id"], first["state"], first["failed"]) == ("bad", "cooling down", 1)
    assert 0 < first["cooldown_ends_in_s"] <= 60
    assert (second["state"], second["in_flight"], second["rpm_used"]) == ("in rotation", 0, len(good.requests))
    last = state["decisions"][0]
    assert (last["deployment"], last["why"], last["cooling_down"]) == ("good", "the only one left", 1)


def test_model_alias_map(gateway, upstream):
    server = gateway(config(entry("m", upstream), litellm={"model_alias_map": {"gpt-old": "m"}}))
    answer = server.chat("gpt-old")
    assert answer.status_code == 200 and answer.json()["model"] == "gpt-old"
    assert upstream.only.json["model"] == "upstream-model"


def test_return_response_headers(gateway, upstream):
    upstream.answer(Answer(body=canned.chat(), headers={"x-custom": "1"}))
    assert "llm_provider-x-custom" in gateway(config(entry("m", upstream))).chat().headers
    server = gateway(config(entry("m", upstream), litellm={"return_response_headers": False}))
    answer = server.chat()
    assert not [name for name in answer.headers if name.startswith("llm_provider-")]
    assert "x-litellm-model-id" in answer.headers


def test_assistants_config(gateway, upstream):
    upstream.answer(Answer(body={"id": "asst_1", "object": "assistant"}))
    made = config(router=settings(assistants_config={"custom_llm_provider": "openai", "litellm_params": {
        "api_base": upstream.url + "/v1", "api_key": "sk-assistants"}}), general={"master_key": KEY})
    server = gateway(made)
    assert server.post("/v1/assistants", {"model": "gpt-4o"}).status_code == 401
    for path in ("/v1/assistants", "/v1/threads", "/v1/threads/thread_1/messages", "/v1/threads/thread_1/runs"):
        answer = server.post(path, {"metadata": {"path": path}}, key=KEY)
        assert answer.status_code == 200 and answer.json()["id"] == "asst_1", answer.text
        sent = upstream.last
        assert sent.path == path and sent.json == {"metadata": {"path": path}}
        assert sent.header("authorization") == "Bearer sk-assistants" and sent.header("openai-beta") == "assistants=v2"


def test_debug_level(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(FAILS)
    entries = [entry("m", bad, info={"id": "bad"}), entry("m", good, info={"id": "good"})]
    router = dict(allowed_fails=0, cooldown_time=60, num_retries=2, routing_strategy="simple-shuffle")
    server = gateway(config(*entries, router=settings(debug_level="DEBUG", **router)))
    for _ in range(20):
        assert server.chat(content="a secret prompt").status_code == 200
    server.wait_log(r"debug router_choice .*deployment=bad strategy=simple-shuffle why=\"the strategy's choice\" candidates=2")
    server.wait_log(r"debug router_failure .*deployment=bad class=InternalServer status=500 attempt=1 cooling_down_s=(60|59)\.")
    server.wait_log(r"debug router_choice .*deployment=good .*why=\"the only one left\" candidates=1 cooling_down=1")
    assert "secret prompt" not in server.log and "upstream_request" not in server.log, "the router's lines alone"
    server = gateway(config(*entries, router=settings(debug_level="INFO", **router)))
    assert server.chat().status_code == 200
    server.wait_log("request .*status=200")
    assert "router_choice" not in server.log


def test_router_set_verbose(gateway, upstream):
    server = gateway(config(entry("m", upstream), router=settings(set_verbose=True)))
    assert server.chat().status_code == 200
    server.wait_log("debug router_choice")
    server.wait_log("router_settings.set_verbose.*router_settings.debug_level: DEBUG")


def test_router_general_settings_pass_through_all_models(gateway, upstreams):
    own, groq, openai = upstreams(), upstreams(), upstreams()
    env = {"GROQ_API_KEY": "sk-groq-env", "GROQ_API_BASE": groq.url + "/v1", "OPENAI_API_KEY": "sk-openai-env",
           "OPENAI_BASE_URL": openai.url + "/v1"}
    made = config(entry("m", own), router=settings(router_general_settings={"pass_through_all_models": True}), general={"master_key": KEY})
    server = gateway(made, env=env)
    for model, up, sent, key in (("m", own, "upstream-model", "sk-upstream-key"), ("groq/llama-x", groq, "llama-x", "sk-groq-env"),
                                 ("openai/gpt-new", openai, "gpt-new", "sk-openai-env"), ("gpt-newer", openai, "gpt-newer", "sk-openai-env")):
        answer = server.chat(model, key=KEY)
        assert answer.status_code == 200, answer.text
        assert up.last.json["model"] == sent and up.last.header("authorization") == f"Bearer {key}"
    assert server.chat("mistral/none", key=KEY).status_code == 400, "no credentials of that provider"
    listed = [row["id"] for row in server.client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"}).json()["data"]]
    assert listed == ["m"]
    info = server.client.get("/model/info", headers={"authorization": f"Bearer {KEY}"}).json()["data"]
    assert [row["model_name"] for row in info] == ["m"]
    key = server.post("/key/generate", {"models": ["m"]}, key=KEY).json()["key"]
    assert server.chat("gpt-newer", key=key).status_code == 403
    server = gateway(config(entry("m", own)), env=env)
    assert server.chat("gpt-newer").status_code == 400, "it is off by default"

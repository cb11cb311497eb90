"""Every route that shards serve themselves, by its name, on both stores: a good call with a key, the same
without one (401, and the upstream hears nothing), and a bad one. The routes are those of the OpenAPI
document; one that belongs to no kind below fails."""

import json
import re
from pathlib import Path

import pytest

import canned
from gateway import KEY, config, entry
from mock import Answer
from test_passages import BASES, ENV
from test_passages_metered import person

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
ROUTES = sorted(f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items()
                for method, what in methods.items() if "operationId" not in what)

SAYS = [{"role": "user", "content": "hi"}]
# A body, or a form with the name of its file.
CALLS = {
    "chat/completions": {"messages": SAYS},
    "completions": {"prompt": "hi"},
    "embeddings": {"input": "hi"},
    "images/generations": {"prompt": "hi"},
    "images/edits": ("image", {"prompt": "a hat"}),
    "images/variations": ("image", {}),
    "audio/speech": {"input": "hi", "voice": "alloy"},
    "audio/transcriptions": ("file", {}),
    "audio/translations": ("file", {}),
    "moderations": {"input": "hi"},
    "rerank": {"query": "q", "documents": ["a", "b"]},
    "responses": {"input": "hi"},
    "messages": {"max_tokens": 5, "messages": SAYS},
    "messages/count_tokens": {"messages": SAYS},
}
SUFFIXES = "|".join(sorted(CALLS, key=len, reverse=True))
CALL = re.compile(rf"POST (?:/v1|/v2|/openai/v1|)/({SUFFIXES})")
NAMED = re.compile(rf"POST (/(?:engines|openai/deployments)/){{model}}/({SUFFIXES})")
GOOGLE = re.compile(r"POST (?:/v1beta|/v1alpha|/v1|)/models/{model}:(\w+)")
FAMILIES = "assistants|batches|containers|files|fine_tuning|responses|threads|uploads|vector_stores"
RESOURCE = re.compile(rf"(GET|POST|PUT|PATCH|DELETE) (?:/v1|)/({FAMILIES})(/{{rest}})?")
PASSED = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/[\w.-]+)/{endpoint}")
HEALTH = re.compile(r"GET /health/(liveliness|liveness|readiness)")
KINDS = (CALL, NAMED, GOOGLE, RESOURCE, PASSED, HEALTH)


def kind_of(route):
    return next((kind for kind in KINDS if kind.fullmatch(route)), None)


def test_every_route_has_a_kind():
    assert [route for route in ROUTES if kind_of(route) is None] == [], "say in this file how they are called"
    assert len(ROUTES) >= 258
    # Each kind of call under every name that LiteLLM has for it.
    for suffix in CALLS:
        heads = ["/v1/", "/", "/openai/v1/", "/engines/{model}/", "/openai/deployments/{model}/"]
        assert {f"POST {head}{suffix}" for head in heads} <= set(ROUTES)


@pytest.fixture(scope="module")
def server(store, shared_upstream, shared_gateway):
    url = shared_upstream.url
    vertex = {"vertex_project": "p", "vertex_location": "us-central1", "vertex_credentials": person(shared_upstream)}
    entries = [entry("m", shared_upstream), entry("rank", shared_upstream, model="hosted_vllm/ranker"),
               entry("v", shared_upstream, model="vertex_ai/gemini-2.5-flash", api_key=None, use_in_pass_through=True, **vertex)]
    openai = {"custom_llm_provider": "openai", "api_base": url + "/v1"}
    made = config(*entries, general={"master_key": KEY, **store}, files_settings=[{**openai, "api_key": "sk-files"}],
                  finetune_settings=[{**openai, "api_key": "sk-tune"}],
                  router={"assistants_config": {"custom_llm_provider": "openai", "litellm_params": {
                      "api_base": url + "/v1", "api_key": "sk-assistants"}}})
    more = {"OPENROUTER_API_BASE": url, "OPENROUTER_API_KEY": "router-env", "AZURE_AI_API_BASE": url, "AZURE_AI_API_KEY": "ai-env",
            "HOSTED_VLLM_API_BASE": url, "ASSEMBLYAI_EU_API_BASE": url}
    made = shared_gateway(made, env={**ENV, **{name: url + path for name, path in BASES.items()}, **more})
    made.key = made.post("/key/generate", {}, key=KEY).json()["key"]
    return made


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


def good(route):
    """Method, path, body or form, and whether an upstream is asked."""
    kind = kind_of(route)
    found = kind.fullmatch(route)
    method, path = route.split(" ", 1)
    if kind is CALL:
        suffix = found[1]
        model = {"model": "rank" if suffix == "rerank" else "m"}
        return method, path, with_fields(CALLS[suffix], model), suffix != "messages/count_tokens"
    if kind is NAMED:
        suffix = found[2]
        path = path.replace("{model}", "rank" if suffix == "rerank" else "m")
        return method, path, CALLS[suffix], suffix != "messages/count_tokens"
    if kind is GOOGLE:
        return method, path.replace("{model}", "m"), {"contents": [{"parts": [{"text": "hi"}]}]}, found[1] != "countTokens"
    body = None if method in ("GET", "DELETE") else {"some": "thing"}
    return method, path.replace("{rest}", "one").replace("{endpoint}", "v1/one"), body, kind is not HEALTH


def with_fields(body, fields):
    return (body[0], {**body[1], **fields}) if isinstance(body, tuple) else {**body, **fields}


def send(server, method, path, body, key):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    if isinstance(body, tuple):
        field, fields = body
        return server.client.post(path, data=fields, files={field: ("f.bin", b"bytes", "image/png")}, headers=headers)
    return server.client.request(method, path, json=body, headers=headers)


def script(upstream, kind):
    """Resources and passages have an answer of their own; others what an OpenAI host answers."""
    upstream.reset()
    if kind in (RESOURCE, PASSED):
        upstream.answer(Answer(body={"fine": True}))
        upstream.route("/token", Answer(body={"access_token": "fetched", "expires_in": 3600}))


@pytest.mark.parametrize("route", ROUTES)
def test_route(server, upstream, route):
    kind = kind_of(route)
    method, path, body, asks = good(route)
    script(upstream, kind)
    answer = send(server, method, path, body, server.key)
    assert answer.status_code == 200, answer.text
    sent = [request for request in upstream.requests if request.path != "/token"]
    assert bool(sent) == asks, [request.target for request in sent]
    assert all(server.key not in request.raw_head.decode() for request in sent), "the caller's key stays here"
    if kind in (RESOURCE, PASSED):
        assert answer.json() == {"fine": True} and sent[0].method == method

    script(upstream, kind)
    answer = send(server, method, path, body, None)
    if kind is HEALTH:
        assert answer.status_code == 200
        assert server.client.get(path + "/more").status_code in (401, 404), "only these are for everybody"
        return
    assert answer.status_code == 401 and "error" in answer.json(), answer.text
    assert not upstream.requests, "nothing goes out for nobody"
    assert send(server, method, path, body, "sk-of-nobody").status_code == 401

    if kind in (RESOURCE, PASSED):
        # What is wrong there is the provider's to say.
        upstream.answer(Answer(422, canned.error("not like this")))
        answer = send(server, method, path, body, server.key)
        assert answer.status_code == 422 and answer.json() == canned.error("not like this")
        return
    headers = {"authorization": f"Bearer {server.key}", "content-type": "application/json"}
    answer = server.client.post(path, content=b'{"model": "m", ', headers=headers)
    assert answer.status_code == 400 and "error" in answer.json(), answer.text
    assert not upstream.requests, "what cannot be read is not sent"
    assert server.client.get(path, headers=headers).status_code == 405 or kind is CALL and "responses" in path

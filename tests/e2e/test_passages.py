"""Requests that are passed on as they are: the providers' own routes, pass_through_endpoints, and
resources that live at a provider (files, batches, jobs, threads, stored responses)."""

import base64

import httpx
import pytest

import wires
from gateway import KEY, config, entry
from mock import Answer, Stream

ENV = {
    "ANTHROPIC_API_KEY": "sk-ant-env", "OPENAI_API_KEY": "sk-openai-env", "GEMINI_API_KEY": "AIzaEnv",
    "COHERE_API_KEY": "cohere-env", "MISTRAL_API_KEY": "mistral-env", "ASSEMBLYAI_API_KEY": "assembly-env",
    "LANGFUSE_PUBLIC_KEY": "pk-env", "LANGFUSE_SECRET_KEY": "sk-env", "AZURE_API_KEY": "azure-env",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
    "OWN_KEY": "own-secret",
}
BASES = {
    "ANTHROPIC_API_BASE": "", "OPENAI_API_BASE": "/v1", "GEMINI_API_BASE": "", "COHERE_API_BASE": "",
    "MISTRAL_API_BASE": "", "ASSEMBLYAI_API_BASE": "", "LANGFUSE_HOST": "", "AZURE_API_BASE": "",
    "AWS_BEDROCK_RUNTIME_ENDPOINT": "",
}
CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    own = [
        {"path": "/own", "target": shared_upstream.url + "/there?fixed=1", "auth": True, "include_subpath": True,
         "headers": {"authorization": "Bearer os.environ/OWN_KEY", "x-fixed": "yes"}, "forward_headers": True,
         "merge_query_params": True, "cost_per_request": 0.25},
        {"path": "/open", "target": shared_upstream.url + "/there?fixed=1", "headers": {"x-own": "os.environ/OWN_KEY"}},
    ]
    configuration = config(
        entry("mine", shared_upstream, model="openai/gpt-4o", api_key="sk-mine"),
        general={"master_key": KEY, "pass_through_endpoints": own},
        files_settings=[
            {"custom_llm_provider": "openai", "api_base": shared_upstream.url + "/v1", "api_key": "sk-files"},
            {"custom_llm_provider": "azure", "api_base": shared_upstream.url, "api_key": "azure-files",
             "api_version": "2024-10-21"}],
        finetune_settings=[
            {"custom_llm_provider": "openai", "api_base": shared_upstream.url + "/v1", "api_key": "sk-tune"}],
        router={"assistants_config": {"custom_llm_provider": "openai", "litellm_params": {
            "api_base": shared_upstream.url + "/v1", "api_key": "sk-assistants"}}},
    )
    bases = {name: shared_upstream.url + path for name, path in BASES.items()}
    return shared_gateway(configuration, env={**ENV, **bases})


@pytest.fixture(autouse=True)
def upstream(shared_upstream):
    shared_upstream.reset()
    shared_upstream.answer(Answer(body={"fine": True}))
    return shared_upstream


def credentials(request):
    return {name: request.header(name) for name in CREDENTIALS if request.header(name)}


# The providers' own routes

@pytest.mark.parametrize("path,target,expected", [
    ("/anthropic/v1/messages", "/v1/messages", {"x-api-key": "sk-ant-env"}),
    ("/anthropic/v1/messages/batches?limit=2", "/v1/messages/batches?limit=2", {"x-api-key": "sk-ant-env"}),
    ("/openai/v1/moderate", "/v1/moderate", {"authorization": "Bearer sk-openai-env"}),
    ("/openai/models", "/v1/models", {"authorization": "Bearer sk-openai-env"}),
    ("/gemini/v1beta/models/g:countTokens", "/v1beta/models/g:countTokens?key=AIzaEnv", {}),
    ("/cohere/v2/chat", "/v2/chat", {"authorization": "Bearer cohere-env"}),
    ("/mistral/v1/ocr", "/v1/ocr", {"authorization": "Bearer mistral-env"}),
    ("/assemblyai/v2/transcript", "/v2/transcript", {"authorization": "assembly-env"}),
    ("/azure/openai/deployments/d/chat/completions?api-version=1", "/openai/deployments/d/chat/completions?api-version=1",
     {"api-key": "azure-env"}),
])
@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_provider_routes(server, upstream, path, target, expected, method):
    body = {"a": [1, {"b": None}], "unknown": True} if method == "POST" else None
    answer = server.client.request(method, path, json=body, headers={"authorization": f"Bearer {KEY}", "x-mine": "1"})
    assert (answer.status_code, answer.json()) == (200, {"fine": True}), answer.text
    sent = upstream.only
    assert (sent.method, sent.target) == (method, target)
    assert credentials(sent) == expected and KEY not in sent.raw_head.decode()
    assert sent.header("x-mine") == "1"
    assert (sent.json == body) if body else not sent.body


def test_langfuse_takes_the_key_as_a_password(server, upstream):
    pair = base64.b64encode(f"anything:{KEY}".encode()).decode()
    answer = server.post("/langfuse/api/public/ingestion", {"batch": []}, headers={"authorization": f"Basic {pair}"})
    assert answer.status_code == 200, answer.text
    assert upstream.only.header("authorization") == "Basic " + base64.b64encode(b"pk-env:sk-env").decode()


def test_bedrock_is_signed(server, upstream):
    answer = server.post("/bedrock/model/anthropic.claude-v2/converse", {"messages": []}, key=KEY)
    assert answer.status_code == 200, answer.text
    assert upstream.only.path == "/model/anthropic.claude-v2/converse"
    assert upstream.only.header("authorization").startswith("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/")


def test_the_key_is_asked_for(server, upstream):
    assert server.post("/anthropic/v1/messages", {}).json()["error"]["type"] == "authentication_error"
    assert server.post("/openai/v1/x", {}, key="sk-wrong").status_code == 401
    assert server.post("/gemini/v1beta/models/g:countTokens?key=sk-wrong", {}).status_code == 401
    assert server.post(f"/gemini/v1beta/models/g:countTokens?key={KEY}", {}).status_code == 200
    assert upstream.only.query == {"key": "AIzaEnv"}


def test_what_is_missing_is_named(server, upstream):
    answer = server.post("/openrouter/v1/x", {}, key=KEY)
    assert answer.status_code == 400 and "OPENROUTER_API_KEY" in answer.text and not upstream.requests


def test_errors_and_headers_are_the_providers(server, upstream):
    upstream.answer(Answer(418, {"theirs": 1}, headers={"x-theirs": "a", "retry-after": "3", "set-cookie": "c=1"}))
    answer = server.post("/anthropic/v1/messages", {}, headers={"x-api-key": KEY, "anthropic-version": "2099-01-01"})
    assert (answer.status_code, answer.json()) == (418, {"theirs": 1})
    assert answer.headers["x-theirs"] == "a" and answer.headers["retry-after"] == "3"
    assert answer.headers["x-litellm-call-id"]
    assert upstream.only.header("anthropic-version") == "2099-01-01"


def test_a_stream_is_relayed_and_metered(server, upstream):
    made = wires.anthropic({"model": "claude-sonnet-4-5", "stream": True, "messages": [{"content": "x"}]})
    frames = list(made.frames)
    upstream.answer(Stream(frames))
    body = {"model": "claude-sonnet-4-5", "stream": True}
    answer = server.post("/anthropic/v1/messages", body, headers={"x-api-key": KEY})
    assert answer.text == "".join(frames) and answer.headers["content-type"] == "text/event-stream"


def test_a_stream_that_is_cut_is_cut(server, upstream):
    upstream.answer(Stream(["data: {}\n\n"], ending="cut"))
    with pytest.raises(httpx.TransportError):
        server.post("/anthropic/v1/messages", {"stream": True}, headers={"x-api-key": KEY})


def test_a_large_body_goes_through_whole(server, upstream):
    body = {"text": "x" * 3_000_000}
    upstream.answer(Answer(body=b"\x00\x01" * 500_000, headers={"content-type": "application/octet-stream"}))
    answer = server.post("/openai/v1/anything", body, key=KEY)
    assert upstream.only.json == body and answer.content == b"\x00\x01" * 500_000


def test_what_an_answer_used_is_billed(server, upstream):
    usage = {"input_tokens": 1000, "output_tokens": 100}
    upstream.answer(Answer(body={"id": "m", "model": "claude-sonnet-4-5", "usage": usage}))
    answer = server.post("/anthropic/v1/messages", {"model": "claude-sonnet-4-5"}, headers={"x-api-key": KEY})
    # 3 and 15 dollars per million.
    assert float(answer.headers["x-litellm-response-cost"]) == pytest.approx(0.0045)


# pass_through_endpoints

def test_pass_through_endpoints(server, upstream):
    assert server.post("/own/below", {}).status_code == 401
    answer = server.post("/own/below?mine=2", {"a": 1}, key=KEY, headers={"x-mine": "1"})
    assert answer.status_code == 200
    sent = upstream.only
    assert (sent.path, sent.query) == ("/there/below", {"mine": "2", "fixed": "1"})
    assert sent.header("authorization") == "Bearer own-secret" and sent.header("x-fixed") == "yes"
    assert sent.header("x-mine") == "1" and sent.json == {"a": 1}
    assert float(answer.headers["x-litellm-response-cost"]) == 0.25


def test_pass_through_endpoints_by_default(server, upstream):
    answer = server.post("/open?mine=2", {"a": 1}, headers={"x-mine": "1", "cookie": "c"})
    assert answer.status_code == 200, answer.text
    sent = upstream.only
    assert sent.target == "/there?mine=2" and sent.header("x-own") == "own-secret"
    assert sent.header("x-mine") is None and sent.header("cookie") is None and credentials(sent) == {}
    assert server.client.get("/open").status_code == 200 and upstream.last.target == "/there?fixed=1"
    assert server.post("/open/below", {}, key=KEY).status_code == 404


# Resources

@pytest.mark.parametrize("method,path,target,key", [
    ("GET", "/v1/files", "/v1/files", "sk-files"),
    ("GET", "/files/file-1/content", "/v1/files/file-1/content", "sk-files"),
    ("DELETE", "/openai/v1/files/file-1", "/v1/files/file-1", "sk-files"),
    ("POST", "/v1/batches", "/v1/batches", "sk-files"),
    ("POST", "/batches/b/cancel", "/v1/batches/b/cancel", "sk-files"),
    ("GET", "/v1/batches?limit=3&custom_llm_provider=openai", "/v1/batches?limit=3", "sk-files"),
    ("POST", "/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs", "sk-tune"),
    ("GET", "/v1/assistants", "/v1/assistants", "sk-assistants"),
    ("POST", "/threads/t/runs", "/v1/threads/t/runs", "sk-assistants"),
    ("POST", "/v1/vector_stores/v/search", "/v1/vector_stores/v/search", "sk-openai-env"),
    ("GET", "/v1/responses/resp_1", "/v1/responses/resp_1", "sk-openai-env"),
    ("POST", "/responses/resp_1/cancel?model=mine", "/v1/responses/resp_1/cancel", "sk-mine"),
    ("DELETE", "/v1/responses/resp_1", "/v1/responses/resp_1", "sk-openai-env"),
    ("GET", "/v1/files?model=mine", "/v1/files", "sk-mine"),
])
def test_resources(server, upstream, method, path, target, key):
    body = {"some": "thing"} if method == "POST" else None
    answer = server.client.request(method, path, json=body, headers={"authorization": f"Bearer {KEY}"})
    assert (answer.status_code, answer.json()) == (200, {"fine": True}), answer.text
    assert (upstream.only.method, upstream.only.target) == (method, target)
    assert credentials(upstream.only) == {"authorization": f"Bearer {key}"}


def test_files_of_azure(server, upstream):
    for path in ("/azure/v1/files", "/v1/files?custom_llm_provider=azure"):
        answer = server.client.get(path, headers={"authorization": f"Bearer {KEY}"})
        assert answer.status_code == 200, answer.text
        assert upstream.last.target == "/openai/files?api-version=2024-10-21"
        assert credentials(upstream.last) == {"api-key": "azure-files"}


def test_an_upload_keeps_its_bytes_and_loses_what_is_ours(server, upstream):
    data = bytes(range(256)) * 1000
    answer = server.client.post(
        "/v1/files", headers={"authorization": f"Bearer {KEY}"}, files={"file": ("a.bin", data)},
        data={"purpose": "batch", "custom_llm_provider": "openai"})
    assert answer.status_code == 200, answer.text
    sent = upstream.only
    assert data in sent.body and b'name="purpose"' in sent.body and b"custom_llm_provider" not in sent.body


def test_bodies_lose_what_is_ours(server, upstream):
    server.post("/v1/batches", {"input_file_id": "f", "custom_llm_provider": "openai", "model": "mine"}, key=KEY)
    assert upstream.last.json == {"input_file_id": "f"}
    server.post("/v1/fine_tuning/jobs", {"model": "gpt-4o-mini", "training_file": "f"}, key=KEY)
    assert upstream.last.json == {"model": "gpt-4o-mini", "training_file": "f"}
    server.post("/v1/assistants", {"model": "mine", "name": "n"}, key=KEY)
    assert upstream.last.json == {"model": "gpt-4o", "name": "n"}


def test_a_thread_streams(server, upstream):
    upstream.answer(Stream(["event: thread.run.created\ndata: {}\n\n", "event: done\ndata: [DONE]\n\n"]))
    answer = server.post("/v1/threads/t/runs", {"assistant_id": "a", "stream": True}, key=KEY)
    assert answer.text.endswith("data: [DONE]\n\n")


def test_use_client_credentials_pass_through_routes(gateway, upstream):
    env = {"ANTHROPIC_API_BASE": upstream.url, "GEMINI_API_BASE": upstream.url, "GEMINI_API_KEY": "AIzaOurs"}
    server = gateway(config(entry("m", upstream), general={
        "master_key": KEY, "use_client_credentials_pass_through_routes": True}), env=env)
    upstream.answer(Answer(200, {"ok": True}))
    answer = server.client.post("/anthropic/v1/messages", json={"model": "x"}, headers={"x-api-key": "sk-ant-the-clients"})
    assert answer.status_code == 200, answer.text
    assert upstream.last.header("x-api-key") == "sk-ant-the-clients" and upstream.last.path == "/v1/messages"
    assert server.client.get("/gemini/v1beta/models?key=AIzaTheClients").status_code == 200
    assert upstream.last.query["key"] == "AIzaTheClients"
    assert "AIzaOurs" not in str(upstream.last.headers) + upstream.last.target, "ours stays here"
    assert server.chat().status_code == 401, "calls need a key as ever"


def test_use_client_credentials_pass_through_routes_is_off_by_default(gateway, upstream):
    env = {"ANTHROPIC_API_BASE": upstream.url, "ANTHROPIC_API_KEY": "sk-ant-ours"}
    server = gateway(config(entry("m", upstream), general={"master_key": KEY}), env=env)
    refused = server.client.post("/anthropic/v1/messages", json={}, headers={"x-api-key": "sk-ant-the-clients"})
    assert refused.status_code == 401

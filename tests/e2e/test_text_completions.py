"""Text completions on models that answer chats: one prompt and several, whole and streamed, on four
wires; what a chat cannot do is refused by name, or left out where that is asked for."""

import json

import pytest

import canned
import wires
from gateway import KEY, config, entry, streamed
from mock import Answer


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    more = [
        entry("instruct", shared_upstream, model="openai/gpt-3.5-turbo-instruct"),
        entry("vllm", shared_upstream, model="hosted_vllm/own-model"),
        entry("dropping", shared_upstream.url, model="anthropic/claude-sonnet-4-5", drop_params=True),
        entry("canned", shared_upstream.url, model="anthropic/claude-sonnet-4-5", mock_response="canned words"),
    ]
    return shared_gateway(config(*wires.entries(shared_upstream), *more, general={"master_key": KEY}))


@pytest.fixture(autouse=True)
def upstream(shared_upstream):
    shared_upstream.reset()
    wires.arm(shared_upstream)
    return shared_upstream


def complete(server, model, prompt="Say hi", **body):
    return server.post("/v1/completions", {"model": model, "prompt": prompt, **body}, key=KEY)


@pytest.mark.parametrize("model", wires.MODELS)
def test_one_prompt(client, upstream, model):
    answer = client.completions.create(model=model, prompt="Say hi", max_tokens=20, stop=["END"])
    assert (answer.object, answer.model) == ("text_completion", model)
    assert [(c.index, c.text, c.finish_reason) for c in answer.choices] == [(0, wires.TEXT, "stop")]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == wires.TOKENS
    assert "Say hi" in upstream.only.body.decode() and "prompt" not in upstream.only.json


@pytest.mark.parametrize("model", wires.MODELS)
def test_a_stream(client, model):
    chunks = list(client.completions.create(model=model, prompt="Say hi", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == wires.TEXT
    assert len(chunks) >= len(wires.WORDS)
    assert {chunk.object for chunk in chunks} == {"text_completion"} and len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices[0].finish_reason == "stop" and not any(chunk.usage for chunk in chunks)


@pytest.mark.parametrize("model", wires.MODELS)
def test_the_usage_of_a_stream(client, model):
    chunks = list(client.completions.create(
        model=model, prompt="Say hi", stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == sum(wires.TOKENS)


@pytest.mark.parametrize("model", wires.MODELS)
@pytest.mark.parametrize("stream", [False, True])
def test_several_prompts(server, upstream, model, stream):
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = complete(server, model, ["one", "two", "three"], **options)
    assert answer.status_code == 200, answer.text
    if stream:
        *parts, done = streamed(answer)
        assert done == "[DONE]"
    else:
        parts = [answer.json()]
    choices = [choice for part in parts for choice in part["choices"]]
    assert [(c["index"], c["text"]) for c in choices] == [(at, wires.TEXT) for at in range(3)]
    assert parts[-1]["usage"]["total_tokens"] == 3 * sum(wires.TOKENS)
    asked = [request.body.decode() for request in upstream.requests]
    assert len(asked) == 3 and [word in text for word, text in zip(("one", "two", "three"), asked)] == [True] * 3


def test_an_error_of_one_prompt_is_the_answer(server, upstream):
    upstream.answer(wires.script(), Answer(429, {"type": "error", "error": {
        "type": "rate_limit_error", "message": "slow down"}}))
    answer = complete(server, "anthropic", ["one", "two"])
    assert answer.status_code == 429 and "slow down" in answer.json()["error"]["message"]


def test_too_many_prompts(server, upstream):
    answer = complete(server, "anthropic", ["x"] * 65)
    assert answer.status_code == 400 and "64" in answer.json()["error"]["message"] and not upstream.requests


@pytest.mark.parametrize("field,value", [("echo", True), ("suffix", "end"), ("best_of", 3)])
def test_what_a_chat_cannot_do(server, upstream, field, value):
    answer = complete(server, "anthropic", **{field: value})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == field and f"'{field}'" in error["message"]
    assert "UnsupportedParamsError" in error["message"] and not upstream.requests
    assert complete(server, "anthropic", drop_params=True, **{field: value}).status_code == 200
    assert complete(server, "dropping", **{field: value}).status_code == 200
    assert all(field not in request.json for request in upstream.requests)


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2]], {"a": 1}, None])
def test_prompts_that_are_no_text(server, upstream, prompt):
    answer = complete(server, "anthropic", prompt)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "prompt" and not upstream.requests


def test_logprobs(server, upstream):
    token = {"token": "Hi", "logprob": -0.25, "bytes": None, "top_logprobs": [{"token": "Hi", "logprob": -0.25}]}
    made = canned.chat("Hi")
    made["choices"][0]["logprobs"] = {"content": [token], "refusal": None}
    upstream.answer(Answer(body=made))
    choice = complete(server, "openai", logprobs=1).json()["choices"][0]
    assert (upstream.last.json["logprobs"], upstream.last.json["top_logprobs"]) == (True, 1)
    assert choice["logprobs"] == {
        "tokens": ["Hi"], "token_logprobs": [-0.25], "top_logprobs": [{"Hi": -0.25}], "text_offset": [0]}
    answer = complete(server, "anthropic", logprobs=1)
    assert answer.status_code == 400 and "logprobs" in answer.json()["error"]["message"]


@pytest.mark.parametrize("model", ["instruct", "vllm"])
def test_hosts_that_complete_text_are_asked_as_they_are(server, upstream, model):
    upstream.reset()
    answer = complete(server, model, ["a", "b"], echo=True, suffix="x")
    assert answer.status_code == 200, answer.text
    assert upstream.only.path == "/v1/completions"
    assert (upstream.only.json["prompt"], upstream.only.json["echo"]) == (["a", "b"], True)


def test_openais_chat_models_are_asked_as_chats(server, upstream):
    assert complete(server, "openai").status_code == 200
    assert upstream.only.path == "/v1/chat/completions"


@pytest.mark.parametrize("path,ask,text", [
    ("/v1/completions", {"prompt": "x"}, lambda a: a["choices"][0]["text"]),
    ("/v1/messages", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 9}, lambda a: a["content"][0]["text"]),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]},
     lambda a: a["choices"][0]["message"]["content"]),
    ("/v1/responses", {"input": "x"}, lambda a: a["output"][0]["content"][0]["text"]),
    ("/v1beta/models/canned:generateContent", {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
     lambda a: a["candidates"][0]["content"]["parts"][0]["text"]),
])
def test_mock_response_in_every_dialect(server, upstream, path, ask, text):
    answer = server.post(path, {"model": "canned", **ask}, key=KEY)
    assert answer.status_code == 200 and text(answer.json()) == "canned words" and not upstream.requests
    path = path.replace(":generateContent", ":streamGenerateContent?alt=sse")
    streamed = server.post(path, {"model": "canned", **ask, "stream": True}, key=KEY).text
    pieces = ["can", "ned", " wo", "rds"]
    assert all(json.dumps(piece)[1:-1] in streamed for piece in pieces) and "error" not in streamed.replace('"error":null', "")

"""What seldom stands in a request, in front of translated providers: each parameter in the provider's own
words or refused by its name, content that a model has no senses for, thoughts with their signatures, and
errors in the client's own dialect."""

import json

import openai
import pytest

import canned
import wires
from gateway import KEY, config
from mock import Answer, Stream

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
TRANSLATED = ["anthropic", "gemini", "bedrock"]


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    return shared_gateway(config(*wires.entries(shared_upstream), general={"master_key": KEY}))


@pytest.fixture(autouse=True)
def upstream(shared_upstream):
    shared_upstream.reset()
    wires.arm(shared_upstream)
    return shared_upstream


def ask(server, model, content="hi", **body):
    message = {"role": "user", "content": content}
    return server.post("/v1/chat/completions", {"model": model, "messages": [message], **body}, key=KEY)


def sent(server, upstream, model, **body):
    answer = ask(server, model, **body)
    assert answer.status_code == 200, answer.text
    return upstream.last.json


@pytest.mark.parametrize("given", ["END", ["END"]])
def test_stop(server, upstream, given):
    assert sent(server, upstream, "anthropic", stop=given)["stop_sequences"] == ["END"]
    assert sent(server, upstream, "bedrock", stop=given)["inferenceConfig"]["stopSequences"] == ["END"]
    assert sent(server, upstream, "gemini", stop=given)["generationConfig"]["stop_sequences"] == ["END"]


@pytest.mark.parametrize("choice,anthropic,bedrock,gemini", [
    ("auto", {"type": "auto"}, {"auto": {}}, {"mode": "AUTO"}),
    ("required", {"type": "any"}, {"any": {}}, {"mode": "ANY"}),
    ("none", {"type": "none"}, None, {"mode": "NONE"}),
    ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"},
     {"tool": {"name": "weather"}}, {"mode": "ANY", "allowed_function_names": ["weather"]}),
])
def test_tool_choice(server, upstream, choice, anthropic, bedrock, gemini):
    given = {"tools": [TOOL], "tool_choice": choice}
    assert sent(server, upstream, "anthropic", **given)["tool_choice"] == anthropic
    assert sent(server, upstream, "gemini", **given)["toolConfig"]["functionCallingConfig"] == gemini
    if bedrock is None:
        answer = ask(server, "bedrock", **given)
        assert answer.status_code == 400 and "tool_choice" in answer.json()["error"]["message"]
    else:
        assert sent(server, upstream, "bedrock", **given)["toolConfig"]["toolChoice"] == bedrock


def test_parallel_tool_calls(server, upstream):
    given = {"tools": [TOOL], "parallel_tool_calls": False}
    assert sent(server, upstream, "anthropic", **given)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    extra = sent(server, upstream, "bedrock", **given)["additionalModelRequestFields"]
    assert extra["tool_choice"]["disable_parallel_tool_use"] is True
    assert "parallel_tool_calls" not in json.dumps(sent(server, upstream, "gemini", **given))


def test_response_format_json_schema(server, upstream):
    claude = sent(server, upstream, "anthropic", response_format=FORMAT)
    assert claude["output_format"] == {"type": "json_schema", "schema": SCHEMA}
    assert "structured-outputs" in upstream.last.header("anthropic-beta")
    config = sent(server, upstream, "gemini", response_format=FORMAT)["generationConfig"]
    assert config["response_mime_type"] == "application/json" and config["response_json_schema"] == SCHEMA
    tool = sent(server, upstream, "bedrock", response_format=FORMAT)["toolConfig"]
    assert tool["tools"][0]["toolSpec"]["inputSchema"]["json"]["required"] == ["city"]
    assert tool["toolChoice"] == {"tool": {"name": tool["tools"][0]["toolSpec"]["name"]}}


@pytest.mark.parametrize("model,refused,taken", [
    ("anthropic", {"n": 2, "seed": 1, "logprobs": True, "logit_bias": {"1": 2}, "presence_penalty": 0.5, "frequency_penalty": 0.5,
                   "modalities": ["text", "audio"], "prediction": {"type": "content", "content": "x"}},
     {"temperature": 0.1, "top_p": 0.9, "max_tokens": 9, "user": "u-1"}),
    ("bedrock", {"n": 2, "seed": 1, "logprobs": True, "logit_bias": {"1": 2}, "presence_penalty": 0.5},
     {"temperature": 0.1, "top_p": 0.9, "max_completion_tokens": 9}),
    ("gemini", {"logit_bias": {"1": 2}, "top_logprobs": 2, "prediction": {"type": "content", "content": "x"}},
     {"temperature": 0.1, "n": 2, "seed": 1, "presence_penalty": 0.5, "frequency_penalty": 0.5, "logprobs": True}),
])
def test_what_a_provider_does_not_take_is_named(server, upstream, model, refused, taken):
    for name, value in refused.items():
        answer = ask(server, model, **{name: value})
        message = answer.json()["error"]["message"]
        assert answer.status_code == 400 and "UnsupportedParamsError" in message and f"'{name}'" in message, message
        assert not upstream.requests
    answer = ask(server, model, **refused)
    assert all(f"'{name}'" in answer.json()["error"]["message"] for name in refused)
    body = sent(server, upstream, model, drop_params=True, **refused, **taken)
    assert not any(f'"{name}"' in json.dumps(body) for name in refused)
    assert ask(server, model, **taken).status_code == 200


def test_several_choices(server, upstream):
    part = {"content": {"role": "model", "parts": [{"text": "one"}]}, "index": 0, "finishReason": "STOP"}
    other = {"content": {"role": "model", "parts": [{"text": "two"}]}, "index": 1, "finishReason": "STOP"}
    upstream.answer(Answer(body={"candidates": [part, other], "usageMetadata": {
        "promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}}))
    answer = ask(server, "gemini", n=2)
    assert upstream.only.json["generationConfig"]["candidate_count"] == 2
    assert [(c["index"], c["message"]["content"]) for c in answer.json()["choices"]] == [(0, "one"), (1, "two")]


def test_audio_in(server, upstream):
    audio = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    parts = [{"type": "text", "text": "what is said?"}, audio]
    heard = sent(server, upstream, "gemini", content=parts)
    assert heard["contents"][0]["parts"][1] == {"inline_data": {"data": "AAAA", "mime_type": "audio/wav"}}
    assert sent(server, upstream, "openai", content=parts)["messages"][0]["content"][1] == audio
    upstream.reset()
    for model in ("anthropic", "bedrock"):
        answer = ask(server, model, content=parts)
        assert answer.status_code == 400 and "input_audio" in answer.json()["error"]["message"] and not upstream.requests


def test_a_file_in(server, upstream):
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
    parts = [{"type": "text", "text": "read"}, file]
    claude = sent(server, upstream, "anthropic", content=parts)["messages"][0]["content"][1]
    assert claude == {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
    gemini = sent(server, upstream, "gemini", content=parts)["contents"][0]["parts"][1]
    assert gemini == {"inline_data": {"data": "JVBERi0=", "mime_type": "application/pdf"}}
    document = sent(server, upstream, "bedrock", content=parts)["messages"][0]["content"][1]["document"]
    assert (document["format"], document["source"]) == ("pdf", {"bytes": "JVBERi0="})


def test_thoughts_come_and_go_back_with_their_signatures(server, upstream):
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"}
    upstream.answer(Answer(body={
        "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
        "content": [thought, {"type": "text", "text": "Yes."}], "usage": {"input_tokens": 3, "output_tokens": 2}}))
    said = ask(server, "anthropic", reasoning_effort="low").json()["choices"][0]["message"]
    assert said["thinking_blocks"] == [thought] and said["reasoning_content"] == "hm"
    assert upstream.last.json["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    wires.arm(upstream)
    again = [{"role": "user", "content": "hi"}, said, {"role": "user", "content": "sure?"}]
    for model, place in (("anthropic", lambda m: m["content"][0]),
                         ("bedrock", lambda m: m["content"][0]["reasoningContent"]["reasoningText"])):
        assert server.post("/v1/chat/completions", {"model": model, "messages": again}, key=KEY).status_code == 200
        assert place(upstream.last.json["messages"][1])["signature"] == "c2lnbmVk"


def test_signatures_of_geminis_calls(server, upstream):
    part = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}, "thoughtSignature": "c2lnbmVk"}
    upstream.answer(Answer(body={"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
                                 "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5}}))
    said = ask(server, "gemini", tools=[TOOL]).json()["choices"][0]["message"]
    call = said["tool_calls"][0]
    again = [{"role": "user", "content": "hi"}, said, {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
    wires.arm(upstream)
    assert server.post("/v1/chat/completions", {"model": "gemini", "messages": again, "tools": [TOOL]}, key=KEY).status_code == 200
    assert upstream.last.json["contents"][1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"


def test_citations(server, upstream):
    cited = {"type": "char_location", "cited_text": "blue", "document_index": 0, "start_char_index": 0, "end_char_index": 4}
    upstream.answer(Answer(body={
        "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "It is blue.", "citations": [cited]}],
        "usage": {"input_tokens": 3, "output_tokens": 2}}))
    fields = ask(server, "anthropic").json()["choices"][0]["message"]["provider_specific_fields"]
    assert fields["citations"] == [[{**cited, "supported_text": "It is blue."}]]


def test_betas_of_the_request(server, upstream):
    assert ask(server, "anthropic", extra_headers={"anthropic-beta": "context-1m-2025-08-07"}).status_code == 200
    assert upstream.last.header("anthropic-beta") == "context-1m-2025-08-07"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_betas_of_the_client_reach_bedrock(server, upstream, path):
    """In the body, and only what Bedrock knows: it refuses a request with any other."""
    named = "claude-code-20250219, oauth-2025-04-20,context-1m-2025-08-07,prompt-caching-scope-2026-01-05"
    body = {"model": "bedrock", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    answer = server.post(path, body, key=KEY, headers={"anthropic-beta": named})
    assert answer.status_code == 200, answer.text
    fields = upstream.last.json["additionalModelRequestFields"]
    assert fields["anthropic_beta"] == ["claude-code-20250219", "context-1m-2025-08-07"]
    assert upstream.last.header("anthropic-beta") is None


# Errors of the Responses API

def responses(server, key=KEY, **body):
    return server.post("/v1/responses", {"model": "anthropic", "input": "x", **body}, key=key)


def test_responses_errors(server, upstream):
    upstream.answer(Answer(429, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}))
    error = responses(server).json()["error"]
    assert (error["code"], error["type"]) == ("429", "throttling_error") and "slow down" in error["message"]
    assert responses(server, model="nobody").status_code == 400
    assert responses(server, key="sk-wrong").json()["error"]["code"] == "401"
    refused = responses(server, metadata={}, top_logprobs=1, logit_bias={"1": 1})
    assert refused.status_code == 400 and "'logit_bias'" in refused.json()["error"]["message"]


@pytest.mark.parametrize("model", wires.MODELS)
def test_a_stream_that_breaks_says_so(client, upstream, model):
    upstream.answer(wires.script())
    whole = {"openai": canned.responses({"stream": True})}.get(model)
    frames = list((whole or wires.answer(request_of(model))).frames)
    upstream.answer(Stream(frames[:-1] if model != "bedrock" else frames[:2], headers=wire_headers(model), ending="cut"))
    with pytest.raises(openai.APIError):
        list(client.responses.create(model=model, input="x", stream=True))


def request_of(model):
    """What a stream is asked for with, on that wire."""
    class Asked:
        path = {"anthropic": "/v1/messages", "gemini": ":streamGenerateContent", "bedrock": "/converse-stream"}[model]
        body = json.dumps({"anthropic": {"model": "m", "stream": True, "messages": [{"content": "x"}]},
                           "gemini": {"contents": [{"parts": []}]},
                           "bedrock": {"messages": [{"content": [{"text": "x"}]}]}}[model]).encode()
    return Asked


def wire_headers(model):
    return {"content-type": "application/vnd.amazon.eventstream" if model == "bedrock" else "text/event-stream"}

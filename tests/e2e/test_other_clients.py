"""Other client libraries than OpenAI's, each in front of three wires (OpenAI's, Anthropic's, Google's):
whole answers, streams, a call of a tool with its result, and errors as the classes the library has."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import anthropic
import pytest
from google import genai
from google.genai import types
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

import wires
from gateway import KEY, config

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCRIPT = Path(__file__).parent / "node" / "clients.mjs"
every_wire = pytest.mark.parametrize("model", wires.MODELS)


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    return shared_gateway(config(*wires.entries(shared_upstream), general={"master_key": KEY}))


@pytest.fixture(autouse=True)
def upstream(shared_upstream):
    shared_upstream.reset()
    wires.arm(shared_upstream)
    return shared_upstream


# Anthropic's

@pytest.fixture(scope="module")
def claude(server):
    with anthropic.Anthropic(base_url=server.base_url, api_key=KEY, max_retries=0, timeout=20) as made:
        yield made


ANTHROPIC_TOOL = {"name": "weather", "description": "The weather of a city", "input_schema": SCHEMA}


def say(content="hi"):
    return {"max_tokens": 100, "messages": [{"role": "user", "content": content}]}


@every_wire
def test_anthropic_message(claude, model):
    answer = claude.messages.create(model=model, system="Be brief.", **say())
    assert answer.content[0].text == wires.TEXT and answer.stop_reason == "end_turn" and answer.role == "assistant"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == wires.TOKENS


@every_wire
def test_anthropic_stream(claude, model):
    with claude.messages.stream(model=model, **say()) as stream:
        assert "".join(stream.text_stream) == wires.TEXT
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn" and final.usage.output_tokens == wires.TOKENS[1]


@every_wire
@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_tools(claude, model, streamed):
    asked = {"model": model, "tools": [ANTHROPIC_TOOL], **say("weather?")}
    if streamed:
        with claude.messages.stream(**asked) as stream:
            answer = stream.get_final_message()
    else:
        answer = claude.messages.create(**asked)
    call = answer.content[-1]
    assert answer.stop_reason == "tool_use" and (call.name, call.input) == ("weather", wires.ARGUMENTS)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    history = [*asked["messages"], {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert claude.messages.create(**{**asked, "messages": history}).content[0].text == wires.TEXT


@every_wire
def test_anthropic_count_tokens(claude, model):
    counted = claude.messages.count_tokens(model=model, messages=say("hello world")["messages"])
    assert counted.input_tokens == (42 if model == "anthropic" else 9)


def test_anthropic_errors(server, claude, upstream):
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model="nobody", **say())
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="sk-wrong").messages.create(model="openai", **say())
    upstream.answer(wires.Answer(429, {"error": {"message": "slow down"}}, headers={"retry-after": "1"}))
    with pytest.raises(anthropic.RateLimitError, match="slow down"):
        claude.messages.create(model="openai", **say())


# OpenAI's, by its Responses API

@pytest.fixture(scope="module")
def responses(client):
    return client.responses


CHAT_WIRES = pytest.mark.parametrize("model", ["anthropic", "gemini"])
RESPONSES_TOOL = {"type": "function", "name": "weather", "description": "The weather", "parameters": SCHEMA}


@every_wire
def test_responses(responses, model):
    answer = responses.create(model=model, input="hi", instructions="Be brief.")
    assert answer.status == "completed" and answer.usage.total_tokens == 18
    assert answer.output_text.replace("  ", " ") == wires.TEXT


@every_wire
def test_responses_stream(responses, model):
    events = list(responses.create(model=model, input="hi", stream=True))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == wires.TEXT
    assert events[-1].response.output_text == wires.TEXT


@CHAT_WIRES
def test_responses_stream_helper(responses, model):
    with responses.stream(model=model, input="hi") as stream:
        assert len(list(stream)) > 4 and stream.get_final_response().output_text == wires.TEXT


@CHAT_WIRES
@pytest.mark.parametrize("streamed", [False, True])
def test_responses_tools(responses, model, streamed):
    asked = {"model": model, "tools": [RESPONSES_TOOL], "input": [{"role": "user", "content": "weather?"}]}
    if streamed:
        with responses.stream(**asked) as stream:
            kinds = [event.type for event in stream]
            answer = stream.get_final_response()
        assert "response.function_call_arguments.done" in kinds
    else:
        answer = responses.create(**asked)
    call = answer.output[-1]
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "weather", wires.ARGUMENTS)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    history = [*asked["input"], call.model_dump(exclude_none=True), result]
    assert responses.create(**{**asked, "input": history}).output_text == wires.TEXT


# Google's

@pytest.fixture(scope="module")
def google(server):
    return genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=server.base_url, timeout=20_000))


GOOGLE_TOOL = types.Tool(function_declarations=[
    types.FunctionDeclaration(name="weather", description="The weather", parameters=SCHEMA)])


@every_wire
def test_google_generate(google, model):
    configured = types.GenerateContentConfig(system_instruction="Be brief.", temperature=0.5, max_output_tokens=50)
    answer = google.models.generate_content(model=model, contents="hi", config=configured)
    assert answer.text == wires.TEXT and answer.candidates[0].finish_reason == "STOP"
    assert answer.usage_metadata.total_token_count == 18


@every_wire
def test_google_stream(google, model):
    pieces = list(google.models.generate_content_stream(model=model, contents="hi"))
    assert "".join(piece.text or "" for piece in pieces) == wires.TEXT
    assert pieces[-1].usage_metadata.total_token_count == 18


@every_wire
@pytest.mark.parametrize("streamed", [False, True])
def test_google_tools(google, model, streamed):
    configured = types.GenerateContentConfig(tools=[GOOGLE_TOOL])
    asked = [types.Content(role="user", parts=[types.Part(text="weather?")])]
    if streamed:
        found = google.models.generate_content_stream(model=model, contents=asked, config=configured)
    else:
        found = [google.models.generate_content(model=model, contents=asked, config=configured)]
    calls = [call for answer in found for call in answer.function_calls or []]
    assert [(call.name, call.args) for call in calls] == [("weather", wires.ARGUMENTS)]
    asked.append(types.Content(role="model", parts=[types.Part(function_call=calls[0])]))
    asked.append(types.Content(role="user", parts=[types.Part(function_response=types.FunctionResponse(
        name="weather", id=calls[0].id, response={"result": "sunny"}))]))
    assert google.models.generate_content(model=model, contents=asked, config=configured).text == wires.TEXT


@every_wire
def test_google_count_tokens(google, model):
    counted = google.models.count_tokens(model=model, contents="hello world")
    assert counted.total_tokens == (43 if model == "gemini" else 2)


def test_google_errors(google, upstream):
    with pytest.raises(genai.errors.ClientError) as caught:
        google.models.generate_content(model="nobody", contents="hi")
    assert caught.value.code == 400 and caught.value.status == "INVALID_ARGUMENT"
    upstream.answer(wires.Answer(503, {"error": {"message": "overloaded"}}))
    with pytest.raises(genai.errors.ServerError):
        google.models.generate_content(model="openai", contents="hi")


# LangChain's

@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def chains(server, model):
    return [
        ChatOpenAI(model=model, base_url=server.base_url + "/v1", api_key=KEY, max_retries=0, timeout=20),
        ChatAnthropic(model=model, base_url=server.base_url, api_key=KEY, max_retries=0, timeout=20, max_tokens=100),
    ]


@every_wire
def test_langchain(server, model):
    for chain in chains(server, model):
        answer = chain.invoke("hi")
        assert answer.text == wires.TEXT and answer.usage_metadata["total_tokens"] == 18
        assert "".join(piece.text for piece in chain.stream("hi")) == wires.TEXT


@every_wire
def test_langchain_tools(server, model):
    for chain in chains(server, model):
        bound = chain.bind_tools([weather])
        whole = bound.invoke("weather?")
        streamed = None
        for piece in bound.stream("weather?"):
            streamed = piece if streamed is None else streamed + piece
        for answer in (whole, streamed):
            call = answer.tool_calls[0]
            assert (call["name"], call["args"]) == ("weather", wires.ARGUMENTS)
            said = AIMessage(content=answer.content, tool_calls=answer.tool_calls)
            history = [HumanMessage("weather?"), said, ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])]
            assert bound.invoke(history).text == wires.TEXT


# Anthropic's for Node, and Vercel's AI SDK

@pytest.mark.skipif(shutil.which("node") is None, reason="node is missing; type: apt-get install nodejs npm")
@pytest.mark.parametrize("library", ["anthropic", "ai-openai", "ai-openai-responses", "ai-anthropic"])
def test_node(server, library):
    done = subprocess.run(
        ["node", str(SCRIPT), library, server.base_url, KEY, ",".join(wires.MODELS)], capture_output=True, text=True,
        timeout=60, env={"PATH": os.environ["PATH"], "SHARDGATE_NODE": os.environ["SHARDGATE_NODE"]})
    assert done.stdout, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    models = wires.MODELS if library != "ai-openai-responses" else ["anthropic", "gemini"]
    for model in models:
        assert seen[model] == {
            "text": wires.TEXT, "streamed": wires.TEXT, "usage": 18,
            "call": {"name": "weather", "args": wires.ARGUMENTS},
            "streamed_call": {"name": "weather", "args": wires.ARGUMENTS}, "after_result": wires.TEXT,
        }, (model, seen[model], done.stderr)

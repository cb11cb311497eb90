"""The Responses API in front of providers that keep no answers: conversations go on from an answer's
id, and answers can be read, listed and deleted; ids say where an answer lives. OpenAI's SDK speaks."""

import json

import openai
import pytest

import wires
from gateway import KEY, config, entry

TOOL = {"type": "function", "name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    "strict": True}
TRANSLATED = [model for model in wires.MODELS if model != "openai"]


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    more = entry("vllm", shared_upstream, model="hosted_vllm/own")
    return shared_gateway(config(*wires.entries(shared_upstream), more, general={"master_key": KEY}))


@pytest.fixture(autouse=True)
def upstream(shared_upstream):
    shared_upstream.reset()
    wires.arm(shared_upstream)
    return shared_upstream


def ask(client, model, text, stream=False, **more):
    """A response, whichever way it comes."""
    if not stream:
        return client.responses.create(model=model, input=text, **more)
    with client.responses.stream(model=model, input=text, **more) as events:
        events.until_done()
        return events.get_final_response()


@pytest.mark.parametrize("model", TRANSLATED)
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on(client, upstream, model, stream):
    first = ask(client, model, "My name is Ada", stream)
    second = ask(client, model, "I live in Paris", stream, previous_response_id=first.id)
    third = ask(client, model, "Who am I?", stream, previous_response_id=second.id, instructions="Be brief")
    assert third.output_text == wires.TEXT and len({first.id, second.id, third.id}) == 3
    sent = upstream.last.body.decode()
    places = [sent.index(words) for words in ("My name is Ada", wires.TEXT, "I live in Paris", "Who am I?")]
    assert places == sorted(places) and sent.count(wires.TEXT) == 2 and "Be brief" in sent
    assert "previous_response_id" not in sent


@pytest.mark.parametrize("model", TRANSLATED)
@pytest.mark.parametrize("stream", [False, True])
def test_a_tools_result_goes_behind_its_call(client, upstream, model, stream):
    first = ask(client, model, "What is the weather?", stream, tools=[TOOL])
    call = next(item for item in first.output if item.type == "function_call")
    assert (call.name, json.loads(call.arguments)) == ("weather", wires.ARGUMENTS)
    result = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = ask(client, model, result, stream, tools=[TOOL], previous_response_id=first.id)
    assert second.output_text == wires.TEXT
    sent = upstream.last.body.decode()
    assert sent.index("What is the weather?") < sent.index("Paris") < sent.index("sunny")


@pytest.mark.parametrize("model", TRANSLATED)
def test_an_answer_is_read_listed_and_deleted(client, model):
    made = ask(client, model, "Hello")
    assert client.responses.retrieve(made.id).output_text == wires.TEXT
    items = client.responses.input_items.list(made.id).data
    assert [(item.type, item.role) for item in items] == [("message", "user")] and items[0].id
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(made.id)
    client.responses.delete(made.id)
    for again in (client.responses.retrieve, client.responses.input_items.list, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            again(made.id)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, model, "and?", previous_response_id=made.id)
    assert refused.value.param == "previous_response_id"


def test_input_items_are_paged(client):
    made = ask(client, "anthropic", [{"role": "user", "content": word} for word in ("a", "b", "c")])
    listed = client.responses.input_items.list(made.id, order="asc", limit=2)
    assert [item.content for item in listed] == ["a", "b", "c"]
    assert [item.content for item in client.responses.input_items.list(made.id)] == ["c", "b", "a"]


def test_what_shall_not_be_stored_is_not(client):
    made = ask(client, "anthropic", "Hello", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_ids_say_where_an_answer_lives(client, server):
    import base64
    made = ask(client, "anthropic", "Hello")
    said = base64.b64decode(made.id.removeprefix("resp_")).decode()
    deployment = next(entry for entry in server.client.get("/model/info", headers={"authorization": f"Bearer {KEY}"}).json()[
        "data"] if entry["model_name"] == "anthropic")
    assert said.startswith(f"litellm:custom_llm_provider:anthropic;model_id:{deployment['model_info']['id']};response_id:resp_")


def test_an_unknown_id_is_refused_without_a_call(server, upstream):
    answer = server.post("/v1/responses", {"model": "anthropic", "input": "x", "previous_response_id": "resp_1"}, key=KEY)
    assert answer.status_code == 400 and "resp_1" in answer.json()["error"]["message"] and not upstream.requests


def test_stored_answers_are_their_callers(gateway, upstream):
    server = gateway(config(*wires.entries(upstream), general={"master_key": KEY}))
    mine, yours = [server.post("/key/generate", {}, key=KEY).json()["key"] for _ in range(2)]
    made = server.post("/v1/responses", {"model": "anthropic", "input": "My secret is blue"}, key=mine).json()["id"]

    def read(key):
        return server.client.get(f"/v1/responses/{made}", headers={"authorization": f"Bearer {key}"}).status_code

    def go_on(key):
        return server.post("/v1/responses", {"model": "anthropic", "input": "?", "previous_response_id": made}, key=key)

    assert (read(mine), read(yours), read(KEY), read("sk-wrong")) == (200, 404, 200, 401)
    before = len(upstream.requests)
    assert go_on(yours).status_code == 400 and len(upstream.requests) == before
    assert go_on(mine).status_code == 200 and "My secret is blue" in upstream.last.body.decode()


def test_disable_responses_id_security(gateway, upstream):
    server = gateway(config(*wires.entries(upstream), general={"master_key": KEY, "disable_responses_id_security": True}))
    mine, yours = [server.post("/key/generate", {}, key=KEY).json()["key"] for _ in range(2)]
    made = server.post("/v1/responses", {"model": "anthropic", "input": "Nothing secret"}, key=mine).json()["id"]
    read = server.client.get(f"/v1/responses/{made}", headers={"authorization": f"Bearer {yours}"})
    assert read.status_code == 200 and read.json()["id"] == made
    body = {"model": "anthropic", "input": "?", "previous_response_id": made}
    assert server.post("/v1/responses", body, key=yours).status_code == 200
    assert "Nothing secret" in upstream.last.body.decode()


@pytest.mark.parametrize("shards", [1, 3])
def test_any_shard_goes_on(gateway, upstream, shards):
    server = gateway(config(*wires.entries(upstream), general={"master_key": KEY}), "--num_workers", str(shards))
    previous = None
    for turn in range(8):
        body = {"model": "anthropic", "input": f"turn {turn}", **({"previous_response_id": previous} if previous else {})}
        # A connection of its own each time, so that the shard is another one.
        answer = server.post("/v1/responses", body, key=KEY, headers={"connection": "close"})
        assert answer.status_code == 200, answer.text
        previous = answer.json()["id"]
    assert all(f"turn {turn}" in upstream.last.body.decode() for turn in range(8))


def test_a_host_on_the_openai_wire_is_asked_itself(server, upstream):
    answer = server.post("/v1/responses", {"model": "vllm", "input": "x", "previous_response_id": "resp_abc"}, key=KEY)
    assert answer.status_code == 200, answer.text
    assert upstream.only.path == "/v1/responses" and upstream.only.json["previous_response_id"] == "resp_abc"

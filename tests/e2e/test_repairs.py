"""What is mended on the way to a provider: conversations that Anthropic and Bedrock would refuse
(modify_params), addresses of images for Fireworks' models without eyes."""

import pytest

import wires
from gateway import KEY, config, entry

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def servers(shared_upstream, shared_gateway):
    made = {}
    for on in (False, True):
        made[on] = shared_gateway(config(
            *wires.entries(shared_upstream), litellm={"modify_params": on}, general={"master_key": KEY}))
    return made


@pytest.fixture(autouse=True)
def upstream(shared_upstream):
    shared_upstream.reset()
    wires.arm(shared_upstream)
    return shared_upstream


def ask(server, model, *messages, **body):
    return server.post("/v1/chat/completions", {"model": model, "messages": list(messages), **body}, key=KEY)


def turns(upstream):
    """Role and first text of each turn that went out."""
    return [(m["role"], m["content"][0].get("text")) for m in upstream.last.json["messages"]]


def test_modify_params_a_system_prompt_alone(servers, upstream):
    system = {"role": "system", "content": "Say hi"}
    answer = ask(servers[False], "anthropic", system)
    assert answer.status_code == 400 and "modify_params" in answer.json()["error"]["message"] and not upstream.requests
    for model in ("anthropic", "bedrock"):
        assert ask(servers[True], model, system).status_code == 200
        assert turns(upstream) == [("user", "Please continue.")]


def test_modify_params_an_answer_first(servers, upstream):
    conversation = [{"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "Go on"}]
    assert ask(servers[True], "anthropic", *conversation).status_code == 200
    assert turns(upstream) == [("user", "."), ("assistant", "Hi!"), ("user", "Go on")]
    assert ask(servers[True], "bedrock", *conversation).status_code == 200
    assert turns(upstream)[0] == ("user", "Please continue.")
    assert ask(servers[False], "anthropic", *conversation).status_code == 200
    assert turns(upstream)[0] == ("assistant", "Hi!")


def test_modify_params_an_answer_last(servers, upstream):
    conversation = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
    assert ask(servers[True], "bedrock", *conversation).status_code == 200
    assert turns(upstream)[-1] == ("user", "Please continue.")
    assert ask(servers[True], "anthropic", *conversation).status_code == 200
    assert turns(upstream)[-1] == ("assistant", "Well")


@pytest.mark.parametrize("model", ["anthropic", "bedrock"])
def test_modify_params_results_that_are_missing_or_belong_to_nothing(servers, upstream, model):
    conversation = [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_9", "content": "of nobody"}, {"role": "user", "content": "Go on"}]
    assert ask(servers[True], model, *conversation, tools=TOOLS).status_code == 200
    sent = upstream.last.body.decode()
    assert "No result provided for tool 'weather'" in sent and "of nobody" not in sent
    assert ask(servers[False], model, *conversation, tools=TOOLS).status_code == 200
    assert "of nobody" in upstream.last.body.decode()


def test_modify_params_thinking_without_thoughts(servers, upstream):
    conversation = [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    assert ask(servers[True], "anthropic", *conversation, tools=TOOLS, thinking=thinking).status_code == 200
    assert "thinking" not in upstream.last.json
    conversation[1]["thinking_blocks"] = [{"type": "thinking", "thinking": "hm", "signature": "sig"}]
    assert ask(servers[True], "anthropic", *conversation, tools=TOOLS, thinking=thinking).status_code == 200
    assert upstream.last.json["thinking"] == thinking


def images(upstream):
    return [part["image_url"] if isinstance(part["image_url"], str) else part["image_url"]["url"]
            for part in upstream.last.json["messages"][0]["content"] if part["type"] == "image_url"]


def test_disable_add_transform_inline_image_block(gateway, upstream):
    model = "fireworks_ai/accounts/fireworks/models/kimi-k2-instruct"
    entries = [
        entry("blind", upstream, model=model),
        entry("seeing", upstream, model="fireworks_ai/accounts/fireworks/models/phi-3-vision-128k-instruct"),
        entry("said", upstream, model=model, info={"supports_vision": True}),
        entry("own", upstream, model=model, disable_add_transform_inline_image_block=True),
    ]
    message = {"role": "user", "content": [
        {"type": "text", "text": "Read this"}, {"type": "image_url", "image_url": {"url": "https://h/doc.pdf"}},
        {"type": "image_url", "image_url": "https://h/cat.png"}]}
    server = gateway(config(*entries, general={"master_key": KEY}))
    assert ask(server, "blind", message).status_code == 200
    assert images(upstream) == ["https://h/doc.pdf#transform=inline", "https://h/cat.png#transform=inline"]
    for model in ("seeing", "said", "own"):
        assert ask(server, model, message).status_code == 200
        assert images(upstream) == ["https://h/doc.pdf", "https://h/cat.png"]
        assert "disable_add_transform_inline_image_block" not in upstream.last.json
    server.write(config(*entries, litellm={"disable_add_transform_inline_image_block": True}, general={"master_key": KEY}))
    assert server.post("/config/reload", key=KEY).status_code == 200
    assert ask(server, "blind", message).status_code == 200
    assert images(upstream) == ["https://h/doc.pdf", "https://h/cat.png"]

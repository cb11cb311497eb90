"""OpenAI's own Python client against the gateway: every call a team makes of it, and every error as
the exception class the client documents."""

import asyncio
import base64
import threading

import openai
import pytest

import canned
from gateway import KEY, config, entry
from mock import Answer, Hang, Stream

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TOOLS = [{
    "type": "function",
    "function": {
        "name": "weather", "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}]
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Köln"}'}}]


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    names = ["gpt", "embed", "image", "voice", "ears", "judge"]
    entries = [entry(name, shared_upstream, model=f"openai/upstream-{name}") for name in names]
    return shared_gateway(config(*entries, general={"master_key": KEY}))


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


@pytest.fixture
def aclient(server):
    return openai.AsyncOpenAI(base_url=server.base_url + "/v1", api_key=KEY, max_retries=0, timeout=20)


def ask(client, content="hi", **more):
    return client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": content}], **more)


# Chat

def test_chat(client, upstream):
    answer = ask(client, temperature=0.25, max_tokens=5)
    assert answer.choices[0].message.content == "Hello there!"
    assert answer.model == "gpt"
    assert answer.usage.total_tokens == 18
    sent = upstream.only.json
    assert sent["model"] == "upstream-gpt" and sent["temperature"] == 0.25 and sent["max_tokens"] == 5
    assert upstream.only.header("authorization") == "Bearer sk-upstream-key"


def test_chat_raw_response_headers(client, upstream):
    raw = client.chat.completions.with_raw_response.create(
        model="gpt", messages=[{"role": "user", "content": "hi"}])
    assert raw.headers["x-litellm-call-id"] and raw.headers["x-litellm-model-group"] == "gpt"
    assert raw.parse().choices[0].finish_reason == "stop"


def test_chat_unicode(client, upstream):
    text = "Grüße 🚀 \u2028 \"quoted\" \\ and 漢字 \x7f"
    upstream.answer(Answer(body=canned.chat(text)))
    assert ask(client, text).choices[0].message.content == text
    assert upstream.only.json["messages"][0]["content"] == text


def test_chat_async(aclient, upstream):
    async def many():
        async with aclient:
            return await asyncio.gather(*(ask(aclient, f"n{n}") for n in range(20)))

    answers = asyncio.run(many())
    assert [a.choices[0].message.content for a in answers] == ["Hello there!"] * 20
    assert len(upstream.requests) == 20


def test_chat_stream(client, upstream):
    chunks = list(ask(client, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "Hello there!"
    assert {c.model for c in chunks} == {"gpt"} and len({c.id for c in chunks}) == 1
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(c.usage is None for c in chunks)
    assert upstream.only.json["stream_options"] == {"include_usage": True}


def test_chat_stream_with_usage(client, upstream):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 18


def test_chat_stream_async(aclient, upstream):
    async def whole():
        async with aclient:
            parts = []
            async for chunk in await ask(aclient, stream=True):
                parts.append(chunk.choices[0].delta.content or "")
            return "".join(parts)

    assert asyncio.run(whole()) == "Hello there!"


def test_chat_stream_arrives_as_it_comes(client, upstream):
    gate = threading.Event()

    def events():
        yield from canned.chat_events()[:2]
        gate.wait(10)
        yield from canned.chat_events()[2:]

    upstream.answer(Stream(events()))
    stream = iter(ask(client, stream=True))
    next(stream)
    assert next(stream).choices[0].delta.content == "Hel"
    gate.set()
    assert len(list(stream)) == 4


def test_chat_stream_closed_early_cancels(client, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x"] * 1000), gap_s=0.02))
    stream = ask(client, stream=True)
    next(iter(stream))
    stream.close()
    assert upstream.wait(1)[0].gone.wait(3), "the upstream call outlived its client"


def test_chat_stream_helper(client, upstream):
    with client.chat.completions.stream(model="gpt", messages=[{"role": "user", "content": "hi"}]) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.content == "Hello there!"
    assert "content.delta" in kinds


# Tools and vision

def test_tools(client, upstream):
    upstream.answer(Answer(body=canned.chat(None, tool_calls=CALLS)))
    answer = ask(client, tools=TOOLS, tool_choice="auto", parallel_tool_calls=True)
    call = answer.choices[0].message.tool_calls[0]
    assert call.function.name == "weather" and call.function.arguments == '{"city":"Köln"}'
    assert upstream.only.json["tools"] == TOOLS


def test_tools_second_turn(client, upstream):
    messages = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": CALLS},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    client.chat.completions.create(model="gpt", messages=messages, tools=TOOLS)
    assert upstream.only.json["messages"][2] == messages[2]
    assert upstream.only.json["messages"][1]["tool_calls"] == CALLS


def test_tools_stream(client, upstream):
    pieces = ['{"ci', 'ty":"K', 'öln"}']
    start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    events = [canned.event(canned.chunk({"role": "assistant", "content": None, "tool_calls": [start]}))]
    events += [
        canned.event(canned.chunk({"tool_calls": [{"index": 0, "function": {"arguments": p}}]})) for p in pieces
    ]
    events += [canned.event(canned.chunk({}, finish="tool_calls")), canned.event("[DONE]")]
    upstream.answer(Stream(events))
    arguments = ""
    for chunk in ask(client, tools=TOOLS, stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            arguments += call.function.arguments or ""
    assert arguments == '{"city":"Köln"}'


def test_vision(client, upstream):
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    assert ask(client, content).choices[0].message.content
    assert upstream.only.json["messages"][0]["content"] == content


def test_vision_large(client, upstream):
    url = "data:image/png;base64," + "A" * 3_000_000
    ask(client, [{"type": "image_url", "image_url": {"url": url}}])
    assert upstream.only.json["messages"][0]["content"][0]["image_url"]["url"] == url


def test_response_format(client, upstream):
    schema = {"name": "s", "strict": True, "schema": {"type": "object", "properties": {}, "additionalProperties": False}}
    upstream.answer(Answer(body=canned.chat("{}")))
    ask(client, response_format={"type": "json_schema", "json_schema": schema})
    assert upstream.only.json["response_format"]["json_schema"] == schema


def test_completions(client, upstream):
    assert client.completions.create(model="gpt", prompt="hello").choices[0].text == " world"


def test_completions_stream(client, upstream):
    frame = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "u",
             "choices": [{"index": 0, "text": "wor", "finish_reason": None, "logprobs": None}]}
    upstream.answer(Stream([canned.event(frame), canned.event(frame), canned.event("[DONE]")]))
    assert "".join(c.choices[0].text for c in client.completions.create(model="gpt", prompt="h", stream=True)) == "worwor"


# Embeddings, images, audio, moderations

def test_embeddings(client, upstream):
    answer = client.embeddings.create(model="embed", input=["a", "b"], encoding_format="float")
    assert answer.data[0].embedding == [0.1, -0.25, 0.5] and answer.model == "embed"
    assert upstream.only.json["input"] == ["a", "b"]


def test_embeddings_base64(client, upstream):
    floats = base64.b64encode(b"\x00\x00\x80?\x00\x00\x00@").decode()
    upstream.answer(Answer(body={
        "object": "list", "model": "u", "data": [{"object": "embedding", "index": 0, "embedding": floats}],
        "usage": {"prompt_tokens": 1, "total_tokens": 1}}))
    assert client.embeddings.create(model="embed", input="a").data[0].embedding == [1.0, 2.0]


def test_embeddings_async(aclient, upstream):
    async def one():
        async with aclient:
            return await aclient.embeddings.create(model="embed", input=[1, 2, 3], encoding_format="float")

    assert len(asyncio.run(one()).data) == 1
    assert upstream.only.json["input"] == [1, 2, 3]


def test_images_generate(client, upstream):
    answer = client.images.generate(model="image", prompt="a cat", size="1024x1024", n=1)
    assert answer.data[0].b64_json == "aGVsbG8="
    assert upstream.only.json["model"] == "upstream-image" and upstream.only.json["size"] == "1024x1024"


def test_images_edit(client, upstream):
    answer = client.images.edit(model="image", image=("cat.png", PNG, "image/png"), prompt="a hat")
    assert answer.data[0].b64_json == "aGVsbG8="
    got = upstream.only
    assert got.path.endswith("/images/edits") and got.header("content-type").startswith("multipart/form-data")
    assert PNG in got.body and b"upstream-image" in got.body and b'filename="cat.png"' in got.body


def test_images_edit_several(client, upstream):
    client.images.edit(model="image", image=[("a.png", PNG, "image/png"), ("b.png", PNG + b"2", "image/png")],
                       mask=("m.png", PNG, "image/png"), prompt="a hat")
    assert upstream.only.body.count(PNG) == 3 and b'name="mask"' in upstream.only.body


def test_images_variation(client, upstream):
    answer = client.images.create_variation(model="image", image=("cat.png", PNG, "image/png"))
    assert answer.data[0].b64_json == "aGVsbG8="
    assert upstream.only.path.endswith("/images/variations")


def test_audio_transcription(client, upstream):
    answer = client.audio.transcriptions.create(model="ears", file=("a.wav", b"RIFF\x00\xff\r\n--x" * 50, "audio/wav"))
    assert answer.text == "hello from audio"
    assert b"RIFF\x00\xff\r\n--x" * 50 in upstream.only.body and b"upstream-ears" in upstream.only.body


def test_audio_transcription_text(client, upstream):
    upstream.answer(Answer(body=b"plain words\n", headers={"content-type": "text/plain"}))
    answer = client.audio.transcriptions.create(model="ears", file=("a.wav", b"RIFF", "audio/wav"), response_format="text")
    assert answer == "plain words\n"


def test_audio_translation(client, upstream):
    answer = client.audio.translations.create(model="ears", file=("a.wav", b"RIFF", "audio/wav"))
    assert answer.text == "hello from audio" and upstream.only.path.endswith("/audio/translations")


def test_audio_speech_stream(client, upstream):
    with client.audio.speech.with_streaming_response.create(model="voice", voice="alloy", input="hi") as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        data = b"".join(answer.iter_bytes())
    assert data == b"ID3" + bytes(range(256)) * 16 + b"\x00\xff" * 512
    assert upstream.only.json["model"] == "upstream-voice"


def test_moderations(client, upstream):
    answer = client.moderations.create(model="judge", input="text")
    assert answer.results[0].flagged is False


# Responses and models

def test_responses(client, upstream):
    answer = client.responses.create(model="gpt", input="hi")
    assert answer.output_text == "Hello there!" and upstream.only.path.endswith("/responses")
    assert upstream.only.json["model"] == "upstream-gpt"


def test_responses_stream(client, upstream):
    events = list(client.responses.create(model="gpt", input="hi", stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "Hello there!"
    assert events[-1].type == "response.completed"


def test_models(client, upstream):
    assert sorted(model.id for model in client.models.list()) == ["ears", "embed", "gpt", "image", "judge", "voice"]
    assert not upstream.requests


# Errors

CLASSES = [
    (400, openai.BadRequestError), (401, openai.AuthenticationError), (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError), (409, openai.ConflictError), (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError), (500, openai.InternalServerError), (502, openai.InternalServerError),
    (503, openai.InternalServerError),
]


@pytest.mark.parametrize("status,expected", CLASSES)
def test_error_class(client, upstream, status, expected):
    upstream.answer(Answer(status, canned.error(f"upstream says {status}", type="some_error")))
    with pytest.raises(expected) as caught:
        ask(client)
    assert caught.value.status_code == status
    assert f"upstream says {status}" in caught.value.message
    assert caught.value.body["code"] == str(status)


@pytest.mark.parametrize("status,expected", CLASSES)
def test_error_class_stream(client, upstream, status, expected):
    upstream.answer(Answer(status, canned.error(f"upstream says {status}", type="some_error")))
    with pytest.raises(expected) as caught:
        list(ask(client, stream=True))
    assert caught.value.status_code == status


@pytest.mark.parametrize("status,expected", [(400, openai.BadRequestError), (429, openai.RateLimitError)])
def test_error_class_embeddings(client, upstream, status, expected):
    upstream.answer(Answer(status, canned.error()))
    with pytest.raises(expected):
        client.embeddings.create(model="embed", input="a")
    assert len(upstream.requests) == 1


def test_error_timeout_upstream_408(client, upstream):
    upstream.answer(Answer(408, canned.error("too slow")))
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client)
    assert caught.value.status_code == 408


def test_error_wrong_key(server):
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key="sk-wrong-key-0123456789", max_retries=0) as other:
        with pytest.raises(openai.AuthenticationError) as caught:
            ask(other)
    assert "sk-wrong-key-0123456789" not in str(caught.value)


def test_error_unknown_model(client, upstream):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "hi"}])
    assert "nope" in str(caught.value.body) and not upstream.requests


def test_error_midway(client, upstream):
    frames = canned.chat_events()[:3] + [canned.event(canned.error("broken midway", type="server_error"))]
    upstream.answer(Stream(frames))
    with pytest.raises(openai.APIError) as caught:
        list(ask(client, stream=True))
    assert "broken midway" in str(caught.value)


# Timeouts and retries

def test_client_timeout(client, upstream):
    upstream.answer(Hang())
    with pytest.raises(openai.APITimeoutError):
        ask(client.with_options(timeout=0.5))
    assert upstream.wait(1)[0].gone.wait(3), "the upstream call outlived its client"


def test_client_retries(client, upstream):
    upstream.answer(Answer(500, canned.error()), Answer(429, canned.error()), Answer(body=canned.chat()))
    assert ask(client.with_options(max_retries=2)).choices[0].message.content == "Hello there!"
    assert len(upstream.requests) == 3


def test_client_reuses_its_connection(client, upstream):
    for _ in range(5):
        ask(client)
    assert len({r.connection for r in upstream.requests}) <= 2

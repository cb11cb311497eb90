"""Bodies go through as they are: only the model's name and defaults are changed, unknown fields and
spellings of numbers survive byte for byte, and what cannot be read safely is refused."""

import json
import os
from pathlib import Path

import pytest

import canned
from gateway import config, entry, request, streamed
from mock import Answer, Stream

ROOT = Path(__file__).resolve().parents[2]
CORPORA = Path(os.environ.get("SHARDGATE_CORPORA", ROOT.parent / "shared" / "corpora"))
SUITE = sorted((CORPORA / "json_test_suite").glob("*.json"))


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    return shared_gateway(config(
        entry("m", shared_upstream), entry("defaults", shared_upstream, temperature=0.5, max_tokens=100, seed=7),
        entry("same-name", shared_upstream, model="openai/same-name"),
        router={"default_litellm_params": {"temperature": 0.11, "top_p": 0.9}}))


@pytest.fixture(scope="module")
def plain(shared_upstream, shared_gateway):
    return shared_gateway(config(entry("m", shared_upstream), entry("same-name", shared_upstream, model="openai/same-name")))


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


def post(server, body, path="/v1/chat/completions"):
    with server.connect(30) as raw:
        status, headers, answer = raw.send(request(body, path=path)).answer()
        return status, json.loads(answer) if answer[:1] in b"{[" else answer


MESSAGES = '"messages":[{"role":"user","content":"hi"}]'


@pytest.mark.parametrize("value", [
    "123456789012345678901234567890", "1.0", "1.00", "1e3", "1E+3", "-0", "-0.0", "0.1e-7", "1.7976931348623157e309",
    '"\\u00e9\\n\\/\\ud83d\\ude00"', '"é"', "[1, 2 ,3]", '{"a" : [ {} , [] ] }', "null", "true", "false", '""', '{"a":1,"a":2}',
])
def test_unknown_fields_survive_byte_for_byte(plain, upstream, value):
    body = f'{{"model":"m", {MESSAGES}, "x_unknown" : {value} }}'.encode()
    status, _ = post(plain, body)
    assert status == 200
    assert f'"x_unknown" : {value}'.encode() in upstream.only.body


def test_whole_body_is_the_same_but_for_the_model(plain, upstream):
    body = b'{ "messages" : [ {"role":"user", "content":"a\\u0062c"} ] ,\n\t"model" :\t"m", "n":1.0,"zz":[1 , 2] }'
    assert post(plain, body)[0] == 200
    assert upstream.only.body == body.replace(b'"m"', b'"upstream-model"')


def test_whole_body_is_the_same_when_nothing_changes(plain, upstream):
    body = b'{"model":"same-name",  "messages":[{"role":"user","content":"x"}] }'
    assert post(plain, body)[0] == 200
    assert upstream.only.body == body


@pytest.mark.parametrize("space", [b" ", b"\n", b"\r\n", b"\t \t"])
def test_white_space_around(plain, upstream, space):
    body = space + b'{"model":"m",' + MESSAGES.encode() + b"}" + space
    assert post(plain, body)[0] == 200


def test_escaped_key_names(plain, upstream):
    body = b'{"mod\\u0065l":"m","m\\u0065ssages":[{"role":"user","content":"hi"}]}'
    assert post(plain, body)[0] == 200
    assert upstream.only.json["model"] == "upstream-model"


def test_escaped_key_that_hides_a_second_model(plain, upstream):
    body = f'{{"model":"m",{MESSAGES},"mod\\u0065l":"same-name"}}'.encode()
    assert post(plain, body)[0] == 400 and not upstream.requests


def test_escaped_model_value(plain, upstream):
    assert post(plain, f'{{"model":"\\u006d",{MESSAGES}}}'.encode())[0] == 200
    assert upstream.only.json["model"] == "upstream-model"


def test_escaped_stream_key(plain, upstream):
    with plain.connect() as raw:
        raw.send(request(f'{{"model":"m",{MESSAGES},"str\\u0065am":true}}'.encode()))
        assert raw.answer()[2].endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("key", ["model", "messages", "stream", "x_unknown", "temperature"])
def test_duplicate_keys_are_refused(plain, upstream, key):
    value = {"model": '"m"', "messages": "[]"}.get(key, "1")
    status, answer = post(plain, f'{{"model":"m",{MESSAGES},"temperature":1,"stream":false,"x_unknown":1,"{key}":{value}}}'.encode())
    message = answer["error"]["message"]
    assert status == 400 and (key in message or "byte" in message)
    assert not upstream.requests


@pytest.mark.parametrize("key", ["model", "messages"])
def test_a_key_of_a_nested_object_is_no_duplicate(plain, upstream, key):
    assert post(plain, f'{{"model":"m",{MESSAGES},"x":{{"{key}":1}}}}'.encode())[0] == 200


@pytest.mark.parametrize("depth,status", [(100, 200), (126, 200), (129, 400), (200, 400), (100_000, 400)])
def test_nesting(plain, upstream, depth, status):
    body = f'{{"model":"m",{MESSAGES},"x":{"[" * depth}{"]" * depth}}}'.encode()
    assert post(plain, body)[0] == status


@pytest.mark.parametrize("letter", ["[", '{"a":'])
def test_nesting_of_five_million(gateway, shared_upstream, upstream, letter):
    server = gateway(config(entry("m", shared_upstream), general={"max_request_size_mb": 64}))
    body = (f'{{"model":"m",{MESSAGES},"x":' + letter * 5_000_000).encode()
    status, answer = post(server, body)
    assert status == 400 and answer["error"]["code"] == "400"
    assert server.client.get("/health/liveliness").status_code == 200 and not upstream.requests


@pytest.mark.parametrize("body", [
    b"", b" ", b"{", b"}", b"null", b"[]", b"[1]", b'"text"', b"1", b"{}x", b'{"model":"m"', b"{'model':'m'}", b'{"model":"m",}',
    b'{"model":"m" "messages":[]}', b'{model:"m"}', b'\xff\xfe{"model":"m"}', b'{"model":"m","messages":[],"x":"\x01"}',
    b'{"model":"m","messages":[],"x":"\xff"}', b'{"model":"m","messages":[],"x":01}', b'{"model":"m","messages":[],"x":NaN}',
    b'{"model":"m","messages":[],"x":1.}', b'{"model":"m","messages":[],"x":"\\x"}', b'{"model":"m","messages":[]}{}',
])
def test_malformed_json(plain, upstream, body):
    status, answer = post(plain, body)
    assert status == 400, answer
    error = answer["error"]
    assert error["code"] == "400" and error["message"] and set(error) == {"message", "type", "param", "code"}
    assert not upstream.requests


@pytest.mark.parametrize("name,body", [
    ("no_model", {"messages": []}), ("model_null", {"model": None, "messages": []}), ("model_number", {"model": 1, "messages": []}),
    ("model_list", {"model": ["m"], "messages": []}), ("no_messages", {"model": "m"}), ("messages_text", {"model": "m", "messages": "hi"}),
    ("messages_null", {"model": "m", "messages": None}), ("messages_object", {"model": "m", "messages": {}}),
    ("stream_text", {"model": "m", "messages": [], "stream": "yes"}),
])
def test_wrong_fields(plain, upstream, name, body):
    status, answer = post(plain, body)
    assert status == 400 and answer["error"]["code"] == "400", answer
    assert not upstream.requests


@pytest.mark.parametrize("path,field", [("/v1/embeddings", "input"), ("/v1/completions", "prompt"), ("/v1/moderations", "input")])
def test_missing_field_of_other_endpoints(plain, upstream, path, field):
    status, answer = post(plain, {"model": "m"}, path)
    assert status == 400 or upstream.requests, "neither refused nor passed on"


@pytest.mark.skipif(not SUITE, reason=f"no JSONTestSuite at {CORPORA}; set SHARDGATE_CORPORA")
@pytest.mark.parametrize("kind", ["y_", "n_", "i_"])
def test_json_test_suite_as_a_field(plain, upstream, kind):
    """Each file as the value of an unknown field: y_ passes unchanged, n_ is a 400, i_ either."""
    wrong = []
    for path in [p for p in SUITE if p.name.startswith(kind)]:
        text = path.read_bytes()
        upstream.reset()
        body = b'{"model":"m",' + MESSAGES.encode() + b',"x":' + text + b"}"
        status, _ = post(plain, body)
        arrived = upstream.requests and upstream.last.body == body.replace(b'"m"', b'"upstream-model"', 1)
        good = {"y_": status == 200 and arrived, "n_": status == 400, "i_": status == 400 or (status == 200 and arrived)}[kind]
        # A file that is two values or ends a value early can still be wrong alone and right inside.
        if not good and not (kind == "n_" and valid(body)):
            wrong.append((path.name, status))
    assert not wrong


@pytest.mark.skipif(not SUITE, reason=f"no JSONTestSuite at {CORPORA}; set SHARDGATE_CORPORA")
@pytest.mark.parametrize("kind", ["y_", "n_", "i_"])
def test_json_test_suite_as_a_body(plain, upstream, kind):
    """Each file as a whole body: all are 400, for none is a chat request, and nothing breaks."""
    wrong = [(p.name, status) for p in SUITE if p.name.startswith(kind)
             for status in [post(plain, p.read_bytes())[0]] if status != 400]
    assert not wrong and not upstream.requests


def valid(body):
    """Whether Python reads it, duplicate keys and its own extensions refused."""
    def no(name):
        raise ValueError(name)

    def pairs(items):
        if len({k for k, _ in items}) != len(items):
            raise ValueError("duplicate")
        return dict(items)

    try:
        json.loads(body.decode(), parse_constant=no, object_pairs_hook=pairs)
        return True
    except (ValueError, RecursionError):
        return False


# Defaults

def test_defaults_of_the_deployment(server, upstream):
    assert server.chat("defaults").status_code == 200
    sent = upstream.only.json
    assert sent["temperature"] == 0.5 and sent["max_tokens"] == 100 and sent["seed"] == 7


def test_client_wins_over_the_deployment(server, upstream):
    server.chat("defaults", temperature=0.9, max_tokens=1)
    sent = upstream.only.json
    assert sent["temperature"] == 0.9 and sent["max_tokens"] == 1 and sent["seed"] == 7
    assert upstream.only.body.count(b'"temperature"') == 1


def test_null_of_the_client_wins(server, upstream):
    server.chat("defaults", temperature=None)
    assert upstream.only.body.count(b'"temperature"') <= 1
    assert upstream.only.json.get("temperature") is None


def test_deployment_wins_over_the_router_defaults(server, upstream):
    server.chat("defaults")
    assert upstream.only.json["temperature"] == 0.5 and upstream.only.json["top_p"] == 0.9


def test_router_defaults(server, upstream):
    server.chat("m")
    assert upstream.only.json["temperature"] == 0.11 and upstream.only.json["top_p"] == 0.9


def test_empty_object_gets_defaults_spliced(server, upstream):
    status, _ = post(server, b'{ "messages":[],"model":"defaults"}')
    assert upstream.only.json["seed"] == 7 if status == 200 else status == 400


def test_own_params_are_not_sent(gateway, upstreams):
    up = upstreams()
    server = gateway(config(entry(
        "m", up, rpm=1000, tpm=100000, weight=2, timeout=30, stream_timeout=30, max_parallel_requests=10, tags=["a"], order=1,
        region_name="eu", input_cost_per_token=0.1, output_cost_per_token=0.1, info={"id": "x", "mode": "chat"})))
    assert server.chat().status_code == 200
    assert set(up.only.json) == {"model", "messages"}


# Request extras

EXTRAS = {
    "timeout": 20, "stream_timeout": 20, "request_timeout": 20, "num_retries": 0, "max_fallbacks": 1, "fallbacks": [],
    "context_window_fallbacks": [], "content_policy_fallbacks": [], "disable_fallbacks": True, "caching": False,
    "cache": {"no-cache": True}, "litellm_metadata": {"a": 1}, "tags": ["t"], "priority": 1,
    "litellm_call_id": "c-1", "litellm_trace_id": "t-1", "no-log": True, "guardrails": [], "mock_testing_fallbacks": False,
}


@pytest.mark.parametrize("name", EXTRAS)
def test_request_extra_is_not_forwarded(plain, upstream, name):
    answer = plain.chat(**{name: EXTRAS[name], "x_keep": 1})
    assert answer.status_code == 200, answer.text
    assert name not in upstream.only.json and upstream.only.json["x_keep"] == 1


def test_all_request_extras_at_once(plain, upstream):
    assert plain.chat(**EXTRAS, metadata={"tags": ["a"]}).status_code == 200
    assert set(upstream.only.json) == {"model", "messages"}


def test_metadata_is_not_forwarded_for_chat(plain, upstream):
    plain.chat(metadata={"trace_id": "x"})
    assert "metadata" not in upstream.only.json


@pytest.mark.parametrize("body", [{"api_base": "http://evil.example"}, {"base_url": "http://evil.example"}, {"api_base": "http://x", "api_key": "k"},
                                  {"api_key": "sk-own"}])
def test_client_side_credentials_are_refused(plain, upstream, body):
    answer = plain.chat(**body)
    assert answer.status_code in (400, 401), answer.text
    assert not upstream.requests


def test_user_config_is_not_honoured(plain, upstream):
    answer = plain.chat(user_config={"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/x", "api_base": "http://127.0.0.1:9"}}]})
    assert answer.status_code in (200, 400, 401)
    assert not upstream.requests or "user_config" not in upstream.last.json


# Model names in answers

def test_model_in_the_answer_is_what_was_asked(plain, upstream):
    answer = plain.chat()
    assert answer.json()["model"] == "m"
    assert answer.headers["x-litellm-upstream-model"] == "upstream-model"


def test_model_in_chunks_is_what_was_asked(plain, upstream):
    assert {event["model"] for event in streamed(plain.chat(stream=True))[:-1]} == {"m"}


def test_answer_keeps_unknown_fields_and_numbers(plain, upstream):
    body = b'{"id":"x","object":"chat.completion","created":1,"model":"upstream-model","choices":[{"index":0,"finish_reason":"stop",' \
           b'"message":{"role":"assistant","content":"hi","x_new":{"deep":[1.0,12345678901234567890123]}}}],"x_top":1.50}'
    upstream.answer(Answer(body=body, headers={"content-type": "application/json"}))
    got = plain.chat().content
    # As in LiteLLM, what a message does not know moves into provider_specific_fields.
    assert b'"x_new":{"deep":[1.0,12345678901234567890123]}' in got and b'"x_top":1.50' in got and b'"model":"m"' in got


def test_stream_keeps_unknown_fields(plain, upstream):
    chunk = '{"id":"x","object":"chat.completion.chunk","created":1,"model":"upstream-model","x_new":1.0,"choices":[{"index":0,"delta":{"content":"a","x_deep":12345678901234567890123}}]}'
    upstream.answer(Stream([f"data: {chunk}\n\n", "data: [DONE]\n\n"]))
    assert chunk.replace("upstream-model", "m") in plain.chat(stream=True).text


def test_model_word_inside_the_text_is_left_alone(plain, upstream):
    text = '"model":"upstream-model"'
    upstream.answer(Answer(body=canned.chat(text)))
    assert plain.chat().json()["choices"][0]["message"]["content"] == text


# Usage in streams

def test_usage_is_asked_upstream_and_hidden(plain, upstream):
    text = plain.chat(stream=True).text
    assert upstream.only.json["stream_options"] == {"include_usage": True}
    assert '"usage"' not in text and text.endswith("data: [DONE]\n\n")


def test_usage_is_shown_when_asked(plain, upstream):
    *_, last, done = streamed(plain.chat(stream=True, stream_options={"include_usage": True}))
    assert last["usage"]["total_tokens"] == 18 and last["choices"] == [] and done == "[DONE]"


def test_usage_is_hidden_when_refused(plain, upstream):
    text = plain.chat(stream=True, stream_options={"include_usage": False, "x": 1}).text
    assert upstream.only.json["stream_options"] == {"include_usage": True, "x": 1}
    assert '"usage"' not in text


def test_usage_on_the_finish_chunk_is_kept_apart(plain, upstream):
    """Some hosts put usage on the chunk that finishes: its choice must arrive."""
    frames = canned.chat_events()[:2]
    frames.append(canned.event(canned.chunk({}, finish="stop", usage=canned.USAGE)))
    upstream.answer(Stream(frames + [canned.event("[DONE]")]))
    text = plain.chat(stream=True).text
    assert '"finish_reason":"stop"' in text


def test_stream_options_without_stream(plain, upstream):
    assert plain.chat().status_code == 200
    assert "stream_options" not in upstream.only.json


# Multipart

def form(parts, boundary=b"XyZ"):
    body = b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return body + b"--" + boundary + b"--\r\n"


def post_form(server, body, boundary="XyZ", path="/v1/audio/transcriptions"):
    return server.client.post(path, content=body, headers={"content-type": f"multipart/form-data; boundary={boundary}"})


FILE = (b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav', bytes(range(256)) + b"\r\n--XyY\r\n--Xy")
MODEL = (b'Content-Disposition: form-data; name="model"', b"m")


def test_multipart_is_the_same_but_for_the_model(plain, upstream):
    body = form([FILE, (b'Content-Disposition: form-data; name="x_new"', b"1.0"), MODEL])
    assert post_form(plain, body).status_code == 200
    assert upstream.only.body == body.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nupstream-model\r\n")
    assert upstream.only.header("content-type") == "multipart/form-data; boundary=XyZ"


@pytest.mark.parametrize("boundary", ['"XyZ"', "XyZ; charset=utf-8"])
def test_multipart_boundary_spellings(plain, upstream, boundary):
    assert post_form(plain, form([MODEL, FILE]), boundary).status_code == 200


@pytest.mark.parametrize("name,body", [
    ("no_model", form([FILE])), ("two_models", form([MODEL, FILE, MODEL])), ("empty", b""), ("unfinished", form([MODEL, FILE])[:-6]),
    ("other_boundary", form([MODEL, FILE], b"Other")), ("no_blank_line", b"--XyZ\r\nContent-Disposition: form-data; name=\"model\"\r\nm\r\n--XyZ--\r\n"),
])
def test_multipart_malformed(plain, upstream, name, body):
    assert post_form(plain, body).status_code == 400
    assert not upstream.requests


def test_multipart_without_boundary(plain, upstream):
    answer = plain.client.post("/v1/audio/transcriptions", content=b"x", headers={"content-type": "multipart/form-data"})
    assert answer.status_code == 400 and not upstream.requests


def test_multipart_large_file(plain, upstream):
    data = os.urandom(5_000_000)
    body = form([(FILE[0], data.replace(b"--XyZ", b"")), MODEL])
    assert post_form(plain, body).status_code == 200
    assert data[:1000] in upstream.only.body and len(upstream.only.body) >= len(body)


def test_large_answer_is_relayed_whole(plain, upstream):
    text = "é" * 1_500_000
    upstream.answer(Answer(body=canned.chat(text)))
    assert plain.chat().json()["choices"][0]["message"]["content"] == text


def test_compressed_answers_are_not_asked_for(plain, upstream):
    answer = plain.chat(headers={"accept-encoding": "gzip, br"})
    assert answer.status_code == 200
    assert upstream.only.header("accept-encoding") in (None, "identity")

"""One test per parameter, named after it: it is set, and its effect is seen from outside."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import canned
from gateway import KEY, config, entry, request, said, streamed
from mock import Answer, Hang, Stream

OTHER = "sk-other-0123456789abcdef"


def text_of(answer):
    return answer.json()["choices"][0]["message"]["content"]


# environment_variables and os.environ

def test_environment_variables(gateway, upstream):
    made = config(entry("m", upstream, api_key="os.environ/MY_KEY"), environment_variables={"MY_KEY": "sk-from-section"})
    server = gateway(made, env={"MY_KEY": "sk-from-process"})
    server.chat()
    assert upstream.last.header("authorization") == "Bearer sk-from-section"


def test_os_environ_reference(gateway, upstream):
    server = gateway(config(entry("m", upstream, api_key="os.environ/MY_KEY")), env={"MY_KEY": "sk-from-process"})
    server.chat()
    assert upstream.last.header("authorization") == "Bearer sk-from-process"


def test_provider_key_from_the_environment(gateway, upstream):
    server = gateway(config(entry("m", upstream, api_key=None)), env={"OPENAI_API_KEY": "sk-openai-env"})
    server.chat()
    assert upstream.last.header("authorization") == "Bearer sk-openai-env"


# model_list

def test_model_name_groups_balance(gateway, upstreams):
    ups = [upstreams() for _ in range(3)]
    server = gateway(config(*[entry("m", up) for up in ups]))
    for _ in range(90):
        assert server.chat().status_code == 200
    assert all(len(up.requests) > 10 for up in ups)


def test_model_name_wildcard(gateway, upstream):
    server = gateway(config(entry("openai/*", upstream, model="openai/*"), entry("*", upstream, model="openai/fallback-for-all"),
                            entry("openai/gpt-*", upstream, model="openai/special-*"), entry("exact", upstream)))
    sent = {}
    for name in ("openai/o-new", "openai/gpt-5", "anything", "exact"):
        assert server.chat(name).status_code == 200
        sent[name] = upstream.last.json["model"]
    assert sent == {"openai/o-new": "o-new", "openai/gpt-5": "special-5", "anything": "fallback-for-all", "exact": "upstream-model"}


def test_model_wildcard_everything(gateway, upstream):
    server = gateway(config(entry("*", upstream, model="openai/*")))
    assert server.chat("some-model").status_code == 200
    assert upstream.last.json["model"] == "some-model"


def test_model_without_provider_prefix(gateway, upstream):
    server = gateway(config(entry("m", upstream, model="gpt-4o-mini")))
    assert server.chat().status_code == 200 and upstream.last.json["model"] == "gpt-4o-mini"


def test_litellm_params_any_key_is_a_default(gateway, upstream):
    server = gateway(config(entry("m", upstream, x_vendor_option={"a": 1}, presence_penalty=0.5)))
    server.chat()
    assert upstream.last.json["x_vendor_option"] == {"a": 1} and upstream.last.json["presence_penalty"] == 0.5


def test_extra_headers(gateway, upstream):
    server = gateway(config(entry("m", upstream, extra_headers={"X-Team": "search", "X-Other": "1"})))
    server.chat()
    assert upstream.last.header("x-team") == "search" and "extra_headers" not in upstream.last.json


def test_organization(gateway, upstream):
    server = gateway(config(entry("m", upstream, organization="org-mine")))
    server.chat()
    assert upstream.last.header("openai-organization") == "org-mine" and "organization" not in upstream.last.json


def test_temperature(gateway, upstream):
    server = gateway(config(entry("m", upstream, temperature=0.7), router={"default_litellm_params": {"temperature": 0.11}}))
    server.chat()
    assert upstream.last.json["temperature"] == 0.7
    server.chat(temperature=0.2)
    assert upstream.last.json["temperature"] == 0.2


def test_max_tokens(gateway, upstream):
    server = gateway(config(entry("m", upstream, max_tokens=55)))
    server.chat()
    assert upstream.last.json["max_tokens"] == 55


def test_rpm(gateway, upstream):
    server = gateway(config(entry("m", upstream, rpm=3)), "--num_workers", "2")
    answers = [server.chat() for _ in range(8)]
    assert [a.status_code for a in answers].count(200) == 3, [a.status_code for a in answers]
    assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) > 0


def test_weight(gateway, upstreams):
    seven, three = upstreams(), upstreams()
    server = gateway(config(entry("m", seven, weight=7), entry("m", three, weight=3)))

    def many(_):
        with server.new_client() as client:
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            return [client.post("/v1/chat/completions", json=body).status_code for _ in range(500)]

    with ThreadPoolExecutor(4) as pool:
        codes = [code for part in pool.map(many, range(4)) for code in part]
    assert codes == [200] * 2000
    assert abs(len(seven.requests) / 2000 - 0.7) < 0.045  # four standard deviations at 2,000


def test_weight_zero_gets_nothing(gateway, upstreams):
    one, none = upstreams(), upstreams()
    server = gateway(config(entry("m", one, weight=1), entry("m", none, weight=0)))
    for _ in range(40):
        server.chat()
    assert not none.requests


def test_max_parallel_requests(gateway, upstream):
    peak, now, lock = [0], [0], threading.Lock()

    def frames():
        with lock:
            now[0] += 1
            peak[0] = max(peak[0], now[0])
        time.sleep(0.2)
        with lock:
            now[0] -= 1
        yield from canned.chat_events()

    class Counted(Stream):
        def play(self, connection, received):
            return Stream(frames()).play(connection, received)

    upstream.answer(Counted())
    server = gateway(config(entry("m", upstream, max_parallel_requests=2)), "--num_workers", "2")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.chat(stream=True), range(8)))
    assert all(a.status_code == 200 for a in answers) and peak[0] <= 2


def test_order(gateway, upstreams):
    first, second = upstreams(), upstreams()
    server = gateway(config(entry("m", first, order=1), entry("m", second, order=2)))
    for _ in range(20):
        server.chat()
    assert len(first.requests) == 20 and not second.requests


def test_litellm_params_timeout(gateway, upstream):
    upstream.answer(Hang())
    server = gateway(config(entry("m", upstream, timeout=0.5), router={"timeout": 30}))
    began = time.monotonic()
    answer = server.chat()
    assert answer.status_code == 408 and 0.4 < time.monotonic() - began < 3
    assert "Timeout" in answer.json()["error"]["message"] and upstream.last.gone.wait(2)


def test_litellm_params_stream_timeout(gateway, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x"] * 200), gap_s=0.1))
    server = gateway(config(entry("m", upstream, stream_timeout=0.7)))
    began = time.monotonic()
    text = server.chat(stream=True).text
    assert time.monotonic() - began < 4 and '"error"' in text and upstream.last.gone.wait(2)


def test_mock_response(gateway, upstream):
    server = gateway(config(entry("m", upstream, mock_response="canned words")))
    answer = server.chat()
    assert text_of(answer) == "canned words" and not upstream.requests
    assert answer.json()["usage"] == {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}


def test_mock_response_stream(gateway, upstream):
    server = gateway(config(entry("m", upstream, mock_response="canned words")))
    events = streamed(server.chat(stream=True))
    assert events[-1] == "[DONE]" and said(events) == "canned words"


@pytest.mark.parametrize("magic,status,word", [
    ("litellm.RateLimitError", 429, "RateLimitError"), ("litellm.ContextWindowExceededError", 400, "ContextWindowExceededError"),
    ("litellm.InternalServerError", 500, "InternalServerError"), ("Exception: content_filter_policy", 400, ""),
])
def test_mock_response_magic(gateway, upstream, magic, status, word):
    server = gateway(config(entry("m", upstream, mock_response=magic)))
    answer = server.chat()
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]["message"] and not upstream.requests


def test_mock_response_magic_streaming_error(gateway, upstream):
    server = gateway(config(entry("m", upstream, mock_response="Exception: mock_streaming_error")))
    answer = server.chat(stream=True)
    assert answer.status_code >= 500 or '"error"' in answer.text
    assert not upstream.requests


def test_model_info_id(gateway, upstream):
    server = gateway(config(entry("m", upstream, info={"id": "my-id"})))
    assert server.chat().headers["x-litellm-model-id"] == "my-id"


def test_model_info_id_default_is_stable(gateway, upstream):
    made = config(entry("m", upstream))
    ids = [gateway(made).chat().headers["x-litellm-model-id"] for _ in range(2)]
    assert ids[0] == ids[1] and len(ids[0]) == 64


def test_model_info_id_reaches_the_deployment(gateway, upstreams):
    one, two = upstreams(), upstreams()
    server = gateway(config(entry("m", one, info={"id": "first"}), entry("m", two, info={"id": "second"})))
    for _ in range(10):
        assert server.chat("second").status_code == 200
    assert len(two.requests) == 10


# litellm_settings

def test_set_verbose(gateway, upstream):
    server = gateway(config(entry("m", upstream), litellm={"set_verbose": True}))
    server.chat()
    assert server.wait_log(r"level=debug|DEBUG|\"debug\"")


def test_json_logs(gateway, upstream):
    server = gateway(config(entry("m", upstream), litellm={"json_logs": True}))
    server.chat()
    server.chat("nope")
    server.wait_log("nope|400")
    lines = [line for line in server.log.splitlines() if line.strip()]
    assert lines and all(isinstance(json.loads(line), dict) for line in lines)


def test_json_logs_env(gateway, upstream):
    server = gateway(config(entry("m", upstream)), env={"LITELLM_JSON_LOGS": "True"})
    server.chat()
    server.wait_log("chat/completions")
    assert all(json.loads(line) for line in server.log.splitlines() if line.strip())


def test_request_timeout(gateway, upstream):
    upstream.answer(Hang())
    server = gateway(config(entry("m", upstream), litellm={"request_timeout": 0.5}))
    began = time.monotonic()
    answer = server.chat()
    assert answer.status_code == 408 and time.monotonic() - began < 3


def test_request_timeout_bounds_a_steady_stream(gateway, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x"] * 200), gap_s=0.1))
    server = gateway(config(entry("m", upstream), litellm={"request_timeout": 0.8}))
    began = time.monotonic()
    assert '"error"' in server.chat(stream=True).text and time.monotonic() - began < 4


def test_force_ipv4(gateway, upstream):
    server = gateway(config(entry("m", f"http://localhost:{upstream.port}/v1"), litellm={"force_ipv4": True}))
    assert server.chat().status_code == 200


def test_ipv6_first_with_fast_fallback(gateway, upstream):
    server = gateway(config(entry("m", f"http://localhost:{upstream.port}/v1")))
    began = time.monotonic()
    assert server.chat().status_code == 200 and time.monotonic() - began < 2


def test_forward_traceparent_to_llm_provider(gateway, upstream):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for wanted in (True, False):
        server = gateway(config(entry("m", upstream), litellm={"forward_traceparent_to_llm_provider": wanted}))
        server.chat(headers={"traceparent": trace, "tracestate": "a=b"})
        assert upstream.last.header("traceparent") == (trace if wanted else None)
        assert upstream.last.header("tracestate") == ("a=b" if wanted else None)


# general_settings

def test_master_key(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"master_key": KEY}))
    assert server.chat(key=KEY).status_code == 200
    assert server.chat().status_code == 401 and server.chat(key=OTHER).status_code == 401
    assert server.chat(key=KEY[:-1]).status_code == 401 and server.chat(key=KEY + "x").status_code == 401
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("name", ["PROXY_MASTER_KEY", "LITELLM_MASTER_KEY"])
def test_master_key_env(gateway, upstream, name):
    server = gateway(config(entry("m", upstream)), env={name: KEY})
    assert server.chat().status_code == 401 and server.chat(key=KEY).status_code == 200


def test_master_key_unset_is_open(gateway, upstream):
    server = gateway(config(entry("m", upstream)))
    assert server.chat().status_code == 200 and server.chat(key="anything").status_code == 200
    assert server.wait_log("master_key")
    assert server.post("/config/reload").status_code in (401, 403)


@pytest.mark.parametrize("header,form", [
    ("authorization", "Bearer {}"), ("authorization", "bearer {}"), ("x-api-key", "{}"), ("api-key", "{}"),
    ("x-goog-api-key", "{}"), ("x-litellm-api-key", "{}"), ("x-litellm-api-key", "Bearer {}"),
    ("ocp-apim-subscription-key", "{}"),
])
def test_master_key_headers(gateway, upstream, header, form):
    server = gateway(config(entry("m", upstream), general={"master_key": KEY}))
    assert server.chat(headers={header: form.format(KEY)}).status_code == 200
    assert KEY not in json.dumps(upstream.last.headers)
    assert server.chat(headers={header: form.format(OTHER)}).status_code == 401


def test_litellm_key_header_name(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"master_key": KEY, "litellm_key_header_name": "X-Our-Key"}))
    assert server.chat(headers={"x-our-key": f"Bearer {KEY}"}).status_code == 200


def test_max_request_size_mb(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"max_request_size_mb": 1}))
    assert server.chat(content="x" * 900_000).status_code == 200
    with server.connect() as raw:
        raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\n\r\n{")
        status, _, body = raw.answer()
        assert status == 413 and "max_request_size_mb" in json.loads(body)["error"]["message"]
    assert len(upstream.requests) == 1


def test_max_request_size_mb_chunked(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"max_request_size_mb": 1}))
    with server.connect() as raw:
        raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(64):
                raw.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        except (ConnectionResetError, BrokenPipeError):
            pass
        rest = raw.rest()
        assert rest == b"" or b" 413 " in rest.split(b"\r\n")[0]
    assert not upstream.requests


def test_max_response_size_mb(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"max_response_size_mb": 1}))
    upstream.answer(Answer(body=canned.chat("x" * 2_000_000)))
    answer = server.chat()
    assert answer.status_code == 502 and "max_response_size_mb" in answer.json()["error"]["message"]
    upstream.answer(Answer(body=canned.chat("x" * 900_000)))
    assert server.chat().status_code == 200


def test_max_response_size_mb_is_per_event_in_streams(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"max_response_size_mb": 1}))
    upstream.answer(Stream(canned.chat_events(words=["x" * 100_000] * 30)))
    text = server.chat(stream=True).text
    assert text.endswith("data: [DONE]\n\n") and len(text) > 3_000_000
    upstream.answer(Stream(canned.chat_events(words=["a", "x" * 2_000_000])))
    assert '"error"' in server.chat(stream=True).text


def test_global_max_parallel_requests(gateway, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x"] * 20), gap_s=0.1))
    server = gateway(config(entry("m", upstream), general={"global_max_parallel_requests": 4}), "--num_workers", "2")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: server.chat(stream=True), range(12)))
    codes = sorted(a.status_code for a in answers)
    assert codes == [200] * 4 + [429] * 8
    refused = next(a for a in answers if a.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 0 and "global_max_parallel_requests" in refused.json()["error"]["message"]
    upstream.answer(Answer(body=canned.chat()))
    assert [server.chat().status_code for _ in range(10)] == [200] * 10, "the permits did not come back"


def test_global_max_parallel_requests_after_clients_left(gateway, upstream):
    upstream.answer(Hang(20))
    server = gateway(config(entry("m", upstream), general={"global_max_parallel_requests": 2}))
    for n in range(2):
        raw = server.connect()
        raw.send(request({"model": "m", "messages": []}))
        upstream.wait(n + 1)
        raw.close()
    assert all(r.gone.wait(3) for r in upstream.requests)
    upstream.answer(Answer(body=canned.chat()))
    assert server.chat().status_code == 200


def test_allowed_ips(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"allowed_ips": ["10.0.0.0/8", "::1"]}), wait=False)
    server.wait_log("started")
    assert server.post("/v1/chat/completions", {"model": "m", "messages": []}).status_code == 403
    server = gateway(config(entry("m", upstream), general={"allowed_ips": ["127.0.0.0/8"]}))
    assert server.chat().status_code == 200


def test_allowed_ips_refuses_before_the_body(upstream, gateway):
    made = config(entry("m", upstream), general={"allowed_ips": ["10.1.2.3"]})
    server = gateway(made, wait=False)
    server.wait_log("started")
    raw = server.connect()
    raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    assert raw.answer()[0] == 403


def test_use_x_forwarded_for(gateway, upstream):
    allowed = {"allowed_ips": ["203.0.113.7"], "use_x_forwarded_for": True}
    server = gateway(config(entry("m", upstream), general=allowed), wait=False)
    server.wait_log("started")
    assert server.chat(headers={"x-forwarded-for": "203.0.113.7"}).status_code == 200
    assert server.chat(headers={"x-forwarded-for": "203.0.113.8"}).status_code == 403
    assert server.chat().status_code == 403


def test_use_x_forwarded_for_off(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"allowed_ips": ["203.0.113.7"]}), wait=False)
    server.wait_log("started")
    assert server.chat(headers={"x-forwarded-for": "203.0.113.7"}).status_code == 403


@pytest.mark.parametrize("proxies,status", [(["127.0.0.1/32"], 200), (["10.0.0.0/8"], 403)])
def test_trusted_proxies(gateway, upstream, proxies, status):
    general = {"allowed_ips": ["203.0.113.7"], "use_x_forwarded_for": True, "trusted_proxies": proxies}
    server = gateway(config(entry("m", upstream), general=general), wait=False)
    server.wait_log("started")
    assert server.chat(headers={"x-forwarded-for": "203.0.113.7"}).status_code == status


def test_forward_openai_org_id(gateway, upstream):
    for wanted in (True, False):
        server = gateway(config(entry("m", upstream), general={"forward_openai_org_id": wanted}))
        server.chat(headers={"openai-organization": "org-client"})
        assert upstream.last.header("openai-organization") == ("org-client" if wanted else None)


def test_forward_client_headers_to_llm_api(gateway, upstream):
    sent = {"x-team": "search", "x-litellm-tags": "a", "x-api-key": KEY, "x-stainless-lang": "js", "cookie": "a=b", "other": "1"}
    for wanted in (True, False):
        server = gateway(config(entry("m", upstream), general={"forward_client_headers_to_llm_api": wanted, "master_key": KEY}))
        assert server.chat(headers=sent).status_code == 200
        assert upstream.last.header("x-team") == ("search" if wanted else None)
        for name in ("x-litellm-tags", "x-api-key", "x-stainless-lang", "cookie", "other"):
            assert upstream.last.header(name) is None, name
        assert upstream.last.header("authorization") == "Bearer sk-upstream-key"


def test_response_model(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"response_model": "upstream"}))
    assert server.chat().json()["model"] == "upstream-model"
    assert '"model":"upstream-model"' in server.chat(stream=True).text


def test_always_include_stream_usage(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"always_include_stream_usage": True}))
    assert '"usage"' in server.chat(stream=True).text
    server = gateway(config(entry("m", upstream), general={"always_include_stream_usage": False}))
    server.chat(stream=True)
    assert "stream_options" not in upstream.last.json


# router_settings

def test_num_retries(gateway, upstream):
    upstream.answer(Answer(500, canned.error("down")))
    server = gateway(config(entry("m", upstream), router={"num_retries": 2}))
    began = time.monotonic()
    answer = server.chat()
    took = time.monotonic() - began
    assert answer.status_code == 500 and len(upstream.requests) == 3
    # 0.5 and 1 s less a quarter at most, and no sleep after the last failure.
    assert 1.0 < took < 1.5 + 0.7, took


def test_num_retries_succeeds(gateway, upstream):
    upstream.answer(Answer(500, canned.error()), Answer(body=canned.chat()))
    server = gateway(config(entry("m", upstream), router={"num_retries": 2}))
    answer = server.chat()
    assert answer.status_code == 200 and len(upstream.requests) == 2
    assert answer.headers["x-litellm-attempted-retries"] == "1"


def test_num_retries_of_the_request_wins(gateway, upstream):
    upstream.answer(Answer(500, canned.error()))
    server = gateway(config(entry("m", upstream), router={"num_retries": 2}))
    server.chat(num_retries=1)
    assert len(upstream.requests) == 2


def test_num_retries_of_the_request_header(gateway, upstream):
    upstream.answer(Answer(500, canned.error()))
    server = gateway(config(entry("m", upstream), router={"num_retries": 2}))
    server.chat(headers={"x-litellm-num-retries": "0"})
    assert len(upstream.requests) == 1


def test_num_retries_moves_to_another_deployment_at_once(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(Answer(500, canned.error()))
    server = gateway(config(entry("m", bad), entry("m", good), router={"num_retries": 2}))
    began = time.monotonic()
    for _ in range(10):
        assert server.chat().status_code == 200
    assert time.monotonic() - began < 2, "it slept though a healthy deployment was there"


@pytest.mark.parametrize("status,calls", [(400, 1), (401, 2), (404, 1), (422, 1), (429, 2), (500, 2), (502, 2), (503, 2), (408, 2)])
def test_num_retries_by_status(gateway, upstream, status, calls):
    upstream.answer(Answer(status, canned.error()))
    server = gateway(config(entry("m", upstream), router={"num_retries": 1}))
    assert server.chat().status_code == status
    assert len(upstream.requests) == calls


def test_num_retries_streams_before_the_first_byte(gateway, upstream):
    upstream.answer(Answer(503, canned.error()), Stream(canned.chat_events()))
    server = gateway(config(entry("m", upstream), router={"num_retries": 1}))
    assert server.chat(stream=True).text.endswith("data: [DONE]\n\n")


def test_num_retries_never_after_the_first_byte(gateway, upstream):
    upstream.answer(Stream(canned.chat_events()[:3], ending="reset", gap_s=0.05))
    server = gateway(config(entry("m", upstream), router={"num_retries": 3}))
    assert '"error"' in server.chat(stream=True).text
    assert len(upstream.requests) == 1


def test_retry_after_of_the_upstream(gateway, upstream):
    upstream.answer(Answer(429, canned.error(), headers={"retry-after": "1"}), Answer(body=canned.chat()))
    server = gateway(config(entry("m", upstream), router={"num_retries": 1}))
    began = time.monotonic()
    assert server.chat().status_code == 200
    assert 0.95 < time.monotonic() - began < 2.5


def test_retry_after_never_slept_after_the_last(gateway, upstream):
    upstream.answer(Answer(429, canned.error(), headers={"retry-after": "5"}))
    server = gateway(config(entry("m", upstream)))
    began = time.monotonic()
    assert server.chat().status_code == 429 and time.monotonic() - began < 2


def test_retry_after_setting(gateway, upstream):
    upstream.answer(Answer(500, canned.error()), Answer(body=canned.chat()))
    server = gateway(config(entry("m", upstream), router={"num_retries": 1, "retry_after": 1}))
    began = time.monotonic()
    assert server.chat().status_code == 200 and time.monotonic() - began > 0.95


def test_timeout(gateway, upstream):
    upstream.answer(Hang())
    server = gateway(config(entry("m", upstream), router={"timeout": 0.6, "num_retries": 5}))
    began = time.monotonic()
    answer = server.chat()
    assert answer.status_code == 408 and time.monotonic() - began < 3, "the whole request with its retries is bounded"


def test_timeout_of_the_request(gateway, upstream):
    upstream.answer(Hang())
    server = gateway(config(entry("m", upstream)))
    for how in ({"timeout": 0.4}, {"request_timeout": 0.4}, {"headers": {"x-litellm-timeout": "0.4"}}):
        began = time.monotonic()
        assert server.chat(**how).status_code == 408
        assert time.monotonic() - began < 3


def test_stream_timeout(gateway, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x"] * 100), gap_s=0.1))
    server = gateway(config(entry("m", upstream), router={"stream_timeout": 0.7}))
    began = time.monotonic()
    text = server.chat(stream=True).text
    assert '"error"' in text and 0.5 < time.monotonic() - began < 4
    assert upstream.last.gone.wait(2), "the upstream call went on"
    upstream.answer(Answer(body=canned.chat(), delay_s=1.2))
    assert server.chat().status_code == 200, "stream_timeout is for streams"


def test_model_group_alias(gateway, upstream):
    server = gateway(config(entry("m", upstream), router={"model_group_alias": {"other": "m", "hid": {"model": "m", "hidden": True}}}))
    for name in ("other", "hid"):
        answer = server.chat(name)
        assert answer.status_code == 200 and answer.json()["model"] == name
        assert answer.headers["x-litellm-model-group"] == name
        assert f'"model":"{name}"' in server.chat(name, stream=True).text
    names = [model["id"] for model in server.client.get("/v1/models").json()["data"]]
    assert "other" in names and "hid" not in names


def test_default_litellm_params(gateway, upstream):
    server = gateway(config(entry("m", upstream), router={"default_litellm_params": {"top_p": 0.5, "x_new": 1}}))
    server.chat()
    assert upstream.last.json["top_p"] == 0.5 and upstream.last.json["x_new"] == 1


def test_client_ttl(gateway, upstream):
    server = gateway(config(entry("m", upstream), router={"client_ttl": 1}), "--num_workers", "1")
    server.chat()
    server.chat()
    assert upstream.requests[0].connection == upstream.requests[1].connection
    time.sleep(1.5)
    server.chat()
    assert upstream.last.connection != upstream.requests[0].connection


# Our own deadlines, each with a setting

def test_request_head_timeout(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"request_head_timeout": 0.5}))
    with server.connect() as raw:
        began = time.monotonic()
        raw.send(b"POST /v1/chat")
        raw.rest()
        assert 0.3 < time.monotonic() - began < 3


def test_request_body_timeout(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"request_body_timeout": 0.5}))
    with server.connect() as raw:
        began = time.monotonic()
        raw.send(request({"model": "m", "messages": []})[:-3])
        raw.rest()
        assert 0.3 < time.monotonic() - began < 3


def test_keepalive_timeout(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"keepalive_timeout": 0.5}))
    with server.connect() as raw:
        raw.send(request({"model": "m", "messages": []}))
        assert raw.answer()[0] == 200
        began = time.monotonic()
        assert raw.closed(5) and 0.3 < time.monotonic() - began < 3


def test_parameters_not_in_force_are_named_once(gateway, upstream):
    server = gateway(config(entry("m", upstream), litellm={"success_callback": ["langfuse"]},
                            general={"database_url": "postgresql://user:canary-password@127.0.0.1:1/db"}))
    server.wait_log("not[ _]in[ _]force")
    assert "canary-password" not in server.log
    assert server.log.count("success_callback") >= 1


def test_environment_variable_missing(gateway, upstream):
    server = gateway(config(entry("m", upstream, api_key="os.environ/NOT_SET_ANYWHERE")), wait=False)
    assert server.process.wait(10) == 2
    assert "NOT_SET_ANYWHERE" in server.log and "api_key" in server.log

"""Files that requests name by address, for providers that take bytes only: fetched once, within bounds,
from public addresses or hosts that are allowed; in every client's dialect."""

import base64

import pytest

import wires
from gateway import KEY, config, entry
from mock import Answer, Hang

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
DATA = base64.b64encode(PNG).decode()
PDF = b"%PDF-1.4 canned"


@pytest.fixture(scope="module")
def host():
    """Where the files are."""
    import mock
    made = mock.Upstream()
    yield made
    made.stop()


def entries(upstream):
    ollama = entry("ollama", upstream.url, model="ollama_chat/llava", api_key=None)
    invoke = entry("invoke", upstream.url, model="bedrock/invoke/anthropic.claude-3-5-sonnet-20241022-v2:0", api_key=None,
                   aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret-of-aws", aws_region_name="us-west-2")
    return [*wires.entries(upstream), ollama, invoke]


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway, host):
    allowed = {"user_url_allowed_hosts": [host.host]}
    return shared_gateway(config(*entries(shared_upstream), litellm=allowed, general={"master_key": KEY}))


@pytest.fixture(autouse=True)
def upstream(shared_upstream, host):
    shared_upstream.reset()
    host.reset()
    wires.arm(shared_upstream)
    host.route("/cat.png", Answer(body=PNG, headers={"content-type": "image/png"}))
    host.route("/paper", Answer(body=PDF, headers={"content-type": "application/pdf; charset=binary"}))
    return shared_upstream


def ask(server, model, url, kind="image_url", **more):
    part = {"type": "image_url", "image_url": {"url": url}} if kind == "image_url" else {"type": "file", "file": {"file_data": url}}
    message = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}
    return server.post("/v1/chat/completions", {"model": model, "messages": [message], **more}, key=KEY)


def fresh(host, name="/cat.png"):
    """An address that was not fetched yet."""
    fresh.count = getattr(fresh, "count", 0) + 1
    return f"{host.url}{name}?n={fresh.count}"


@pytest.mark.parametrize("model", ["bedrock", "gemini", "anthropic"])
def test_an_image_becomes_bytes(server, upstream, host, model):
    answer = ask(server, model, fresh(host))
    assert answer.status_code == 200, answer.text
    assert DATA in upstream.only.body.decode() and host.host not in upstream.only.body.decode()
    assert "image/png" in upstream.only.body.decode() or '"png"' in upstream.only.body.decode()
    sent = host.only
    assert sent.method == "GET" and not {"authorization", "cookie", "x-api-key"} & set(sent.header_names())


def test_an_image_for_ollama(server, upstream, host):
    upstream.answer(Answer(body={"model": "llava", "message": {"role": "assistant", "content": "a cat"}, "done": True,
                                 "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 2}))
    assert ask(server, "ollama", fresh(host)).status_code == 200
    assert upstream.only.json["messages"][0]["images"] == [DATA]


def test_an_image_for_claude_by_invoke(server, upstream, host):
    upstream.answer(Answer(body={"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [
        {"type": "text", "text": "a cat"}], "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 2}}))
    assert ask(server, "invoke", fresh(host)).status_code == 200
    part = upstream.only.json["messages"][0]["content"][1]
    assert part["source"] == {"type": "base64", "media_type": "image/png", "data": DATA}


def test_openai_gets_the_address(server, upstream, host):
    url = fresh(host)
    assert ask(server, "openai", url).status_code == 200
    assert url in upstream.only.body.decode() and not host.requests


def test_a_document_becomes_bytes(server, upstream, host):
    assert ask(server, "bedrock", fresh(host, "/paper"), kind="file").status_code == 200
    document = upstream.only.json["messages"][0]["content"][1]["document"]
    assert (document["format"], base64.b64decode(document["source"]["bytes"])) == ("pdf", PDF)


def test_what_google_fetches_itself_stays(server, upstream):
    for url in ("https://upload.example/cat.png", "https://www.youtube.com/watch?v=abc", "gs://bucket/cat.png"):
        assert ask(server, "gemini", url).status_code == 200
        assert url in upstream.last.body.decode()


@pytest.mark.parametrize("path,body", [
    ("/v1/messages", lambda url: {"max_tokens": 9, "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "url", "url": url}}]}]}),
    ("/v1/responses", lambda url: {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]}),
    ("/v1beta/models/bedrock:generateContent", lambda url: {"contents": [{"role": "user", "parts": [
        {"text": "x"}, {"fileData": {"fileUri": url, "mimeType": "image/png"}}]}]}),
])
def test_every_client(server, upstream, host, path, body):
    answer = server.post(path, {"model": "bedrock", **body(fresh(host))}, key=KEY)
    assert answer.status_code == 200, answer.text
    assert DATA in upstream.only.body.decode()


def test_one_address_is_asked_once(server, upstream, host):
    url = fresh(host)
    for _ in range(2):
        part = {"type": "image_url", "image_url": url}
        body = {"model": "bedrock", "messages": [{"role": "user", "content": [part, part]}]}
        assert server.post("/v1/chat/completions", body, key=KEY).status_code == 200
    assert len(host.requests) == 1


def test_a_redirect_is_followed(server, upstream, host):
    host.route("/moved", Answer(302, headers={"location": "/cat.png?moved=1"}))
    assert ask(server, "bedrock", fresh(host, "/moved")).status_code == 200
    assert DATA in upstream.only.body.decode()


def refused(server, upstream, url, *words):
    answer = ask(server, "bedrock", url)
    assert answer.status_code == 400, answer.text
    message = answer.json()["error"]["message"]
    assert all(word in message for word in words), message
    assert not upstream.requests
    return message


def test_a_redirect_to_a_private_address_is_not_followed(server, upstream, host):
    host.route("/away", Answer(302, headers={"location": "http://169.254.169.254/latest/meta-data/"}))
    refused(server, upstream, fresh(host, "/away"), "169.254.169.254", "user_url_allowed_hosts")


def test_redirects_end(server, upstream, host):
    host.route("/loop", Answer(302, headers={"location": "/loop"}))
    refused(server, upstream, fresh(host, "/loop"), "redirects")
    assert len(host.requests) == 4


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:1/x.png", "http://localhost/x.png", "http://[::1]/x.png", "http://169.254.169.254/x.png",
    "http://10.0.0.1/x.png", "http://2130706433/x.png", "http://0x7f000001/x.png", "http://[::ffff:127.0.0.1]/x.png",
])
def test_private_addresses_are_not_asked(server, upstream, url):
    refused(server, upstream, url, "could not be fetched")


def test_credentials_in_an_address_are_not_used(server, upstream, host):
    refused(server, upstream, host.url.replace("http://", "http://u:p@") + "/cat.png", "not usable")
    assert not host.requests


def test_what_is_no_file_is_refused(server, upstream, host):
    host.route("/page", Answer(body=b"x", headers={"content-type": "application/x-sh"}))
    refused(server, upstream, fresh(host, "/page"), "application/x-sh")
    host.route("/gone", Answer(404, b"secret-page"))
    assert "secret-page" not in refused(server, upstream, fresh(host, "/gone"), "404")
    assert "n=" not in refused(server, upstream, fresh(host, "/gone"), "/gone")


def test_many_files_are_refused(server, upstream, host):
    parts = [{"type": "image_url", "image_url": fresh(host)} for _ in range(21)]
    body = {"model": "bedrock", "messages": [{"role": "user", "content": parts}]}
    answer = server.post("/v1/chat/completions", body, key=KEY)
    assert answer.status_code == 400 and "20" in answer.json()["error"]["message"] and not host.requests


def test_the_requests_timeout_binds(server, upstream, host):
    host.route("/slow.png", Hang(20))
    answer = ask(server, "bedrock", fresh(host, "/slow.png"), timeout=0.5)
    assert answer.status_code in (400, 408) and not upstream.requests


def test_user_url_allowed_hosts(gateway, upstream, host):
    server = gateway(config(*entries(upstream), general={"master_key": KEY}))
    refused(server, upstream, host.url + "/cat.png", "user_url_allowed_hosts")
    assert not host.requests
    server.write(config(*entries(upstream), general={"master_key": KEY}, litellm={"user_url_allowed_hosts": ["127.0.0.1"]}))
    assert server.post("/config/reload", key=KEY).status_code == 200
    assert ask(server, "bedrock", host.url + "/cat.png").status_code == 200


def test_user_url_validation(gateway, upstream, host):
    off = {"user_url_validation": False}
    server = gateway(config(*entries(upstream), general={"master_key": KEY}, litellm=off))
    assert ask(server, "bedrock", host.url + "/cat.png").status_code == 200
    assert DATA in upstream.only.body.decode()


def test_the_size_is_bounded(gateway, upstream, host):
    host.route("/large.png", Answer(body=PNG + bytes(200_000), headers={"content-type": "image/png"}))
    how = {"general": {"master_key": KEY}, "litellm": {"user_url_validation": False}}
    server = gateway(config(*entries(upstream), **how), env={"MAX_IMAGE_URL_DOWNLOAD_SIZE_MB": "0.1"})
    refused(server, upstream, host.url + "/large.png", "limit")
    assert ask(server, "bedrock", host.url + "/cat.png").status_code == 200


def test_fetching_can_be_switched_off(gateway, upstream, host):
    how = {"general": {"master_key": KEY}, "litellm": {"user_url_validation": False}}
    server = gateway(config(*entries(upstream), **how), env={"MAX_IMAGE_URL_DOWNLOAD_SIZE_MB": "0"})
    refused(server, upstream, host.url + "/cat.png", "data:")
    assert not host.requests

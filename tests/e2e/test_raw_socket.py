"""HTTP/1.1 with the client's side: what a connection may do, byte by byte, and what is refused."""

import json
import socket
import threading
import time
from pathlib import Path

import pytest

import canned
from gateway import config, entry, eventually, request
from mock import Answer, Stream

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAMING = {**BODY, "stream": True}


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    return shared_gateway(config(
        entry("m", shared_upstream),
        general={"request_head_timeout": 1.5, "request_body_timeout": 1.5, "keepalive_timeout": 3},
    ))


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


@pytest.fixture
def raw(server):
    with server.connect() as made:
        yield made


def ok(answer):
    status, headers, body = answer
    assert status == 200, body
    assert json.loads(body)["choices"][0]["message"]["content"] == "Hello there!"
    return headers


def chunked(*parts, tail=b"0\r\n\r\n", headers=b""):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" + headers
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + tail


# Framing of requests

def test_one_request(raw, upstream):
    headers = ok(raw.send(request(BODY)).answer())
    assert headers["content-type"].split(";")[0] == "application/json"


def test_split_at_every_byte(server, upstream):
    data = request({"model": "m", "messages": []} | BODY)
    for cut in range(1, len(data)):
        with server.connect() as raw:
            raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.send(data[:cut])
            time.sleep(0.001)
            raw.send(data[cut:])
            ok(raw.answer())
    assert len(upstream.requests) == len(data) - 1


def test_byte_by_byte(raw, upstream):
    raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request(BODY):
        raw.send(bytes([byte]))
    ok(raw.answer())
    for byte in chunked(json.dumps(BODY).encode()):
        raw.send(bytes([byte]))
    ok(raw.answer())


def test_split_at_every_byte_of_a_chunked_request(server, upstream):
    text = json.dumps(BODY).encode()
    data = chunked(text[:10], text[10:11], text[11:])
    start = data.index(b"\r\n\r\n")
    for cut in range(start, len(data)):
        with server.connect() as raw:
            raw.send(data[:cut])
            time.sleep(0.001)
            raw.send(data[cut:])
            ok(raw.answer())


def test_keep_alive(raw, upstream):
    for _ in range(50):
        ok(raw.send(request(BODY)).answer())
    assert len({r.connection for r in upstream.requests}) <= 2


def test_pipelining(raw, upstream):
    raw.send(b"".join(request({**BODY, "messages": [{"role": "user", "content": f"n{n}"}]}) for n in range(20)))
    for _ in range(20):
        ok(raw.answer())
    assert [r.json["messages"][0]["content"] for r in upstream.requests] == [f"n{n}" for n in range(20)]


def test_pipelining_with_streams(raw, upstream):
    raw.send(request(STREAMING) + request(BODY) + request(STREAMING))
    for streaming in (True, False, True):
        status, headers, body = raw.answer()
        assert status == 200
        assert body.endswith(b"data: [DONE]\n\n") if streaming else json.loads(body)


def test_pipelined_get_and_post(raw, upstream):
    raw.send(b"GET /health/liveliness HTTP/1.1\r\nHost: a\r\n\r\n" + request(BODY) + b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
    assert raw.answer()[0] == 200
    ok(raw.answer())
    assert raw.answer()[0] == 200


def test_half_close(raw, upstream):
    upstream.answer(Answer(body=canned.chat(), delay_s=0.3))
    raw.send(request(BODY)).half_close()
    ok(raw.answer())
    assert raw.closed()


def test_half_close_stream(raw, upstream):
    upstream.answer(Stream(canned.chat_events(), gap_s=0.05))
    raw.send(request(STREAMING)).half_close()
    assert raw.answer()[2].endswith(b"data: [DONE]\n\n")
    assert raw.closed()


def test_half_close_after_pipelined_requests(raw, upstream):
    raw.send(request(BODY) * 3).half_close()
    for _ in range(3):
        ok(raw.answer())
    assert raw.closed()


def test_close_before_the_body_is_complete(server, upstream):
    with server.connect() as raw:
        raw.send(request(BODY)[:-5]).half_close()
        rest = raw.rest()
    assert rest == b"" or b" 400 " in rest.split(b"\r\n")[0]
    assert not upstream.requests


def test_chunked_request(raw, upstream):
    text = json.dumps(BODY).encode()
    ok(raw.send(chunked(text[:7], text[7:])).answer())
    assert json.loads(upstream.only.body)["messages"] == BODY["messages"]


def test_chunked_request_trailers_are_dropped(raw, upstream):
    raw.send(chunked(json.dumps(BODY).encode(), tail=b"0\r\nX-Trailer: secret\r\nAuthorization: Bearer evil\r\n\r\n"))
    ok(raw.answer())
    got = upstream.only
    assert b"evil" not in got.raw_head + got.trailers and b"X-Trailer" not in got.raw_head + got.trailers
    ok(raw.send(request(BODY)).answer())


def test_expect_100_continue(raw, upstream):
    data = request(BODY, headers=[("Expect", "100-continue")])
    end = data.index(b"\r\n\r\n") + 4
    raw.send(data[:end])
    assert raw.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    ok(raw.send(data[end:]).answer())
    assert upstream.only.header("expect") is None


def test_expect_100_continue_with_the_body_at_once(raw, upstream):
    raw.send(request(BODY, headers=[("Expect", "100-continue")]))
    ok(raw.answer())


def test_expect_refused_before_the_body(raw, upstream):
    raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
             b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
    assert raw.answer()[0] == 413


def test_expect_unknown(raw, upstream):
    raw.send(request(BODY, headers=[("Expect", "200-maybe")]))
    assert raw.answer()[0] in (200, 417)


# Versions and methods

def test_http_1_0(raw, upstream):
    raw.send(request(BODY).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    headers = ok(raw.answer())
    assert "transfer-encoding" not in headers and raw.closed()


def test_http_1_0_keep_alive(raw, upstream):
    data = request(BODY, headers=[("Connection", "keep-alive")]).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    headers = ok(raw.send(data).answer())
    if headers.get("connection", "").lower() == "keep-alive":
        ok(raw.send(data).answer())
    else:
        assert raw.closed()


def test_http_1_0_stream_is_not_chunked(raw, upstream):
    raw.send(request(STREAMING).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    status, headers, _ = raw.answer(head_only=True)
    assert status == 200 and "transfer-encoding" not in headers
    body = raw.rest()
    assert body.startswith(b"data: ") and body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("version", [b"HTTP/9.9", b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"HTTP/1.1x", b"http/1.1", b""])
def test_version_refused(raw, upstream, version):
    raw.send(request(BODY).replace(b"HTTP/1.1", version, 1))
    first = raw.rest()
    assert first.split(b" ")[1] in (b"400", b"505") and not upstream.requests


def test_connection_close_is_honoured(raw, upstream):
    headers = ok(raw.send(request(BODY, headers=[("Connection", "close")])).answer())
    assert headers.get("connection", "").lower() == "close" and raw.closed()


def test_head(raw, upstream):
    raw.send(b"HEAD /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
    status, headers, _ = raw.answer(head_only=True)
    assert status in (200, 405)
    raw.send(b"HEAD /health/liveliness HTTP/1.1\r\nHost: a\r\n\r\n")
    status, headers, _ = raw.answer(head_only=True)
    assert status == 200 and not raw.buffer
    ok(raw.send(request(BODY)).answer())


def test_options_cors(raw, upstream):
    raw.send(b"OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: a\r\nOrigin: https://ui.example\r\n"
             b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, content-type\r\n\r\n")
    status, headers, _ = raw.answer()
    assert status in (200, 204)
    assert headers["access-control-allow-origin"] in ("*", "https://ui.example")
    assert "POST" in headers["access-control-allow-methods"] or headers["access-control-allow-methods"] == "*"
    allowed = headers["access-control-allow-headers"].lower()
    assert allowed == "*" or ("authorization" in allowed and "content-type" in allowed)
    assert not upstream.requests


def test_cors_on_answers(raw, upstream):
    headers = ok(raw.send(request(BODY, headers=[("Origin", "https://ui.example")])).answer())
    assert headers["access-control-allow-origin"] in ("*", "https://ui.example")


def test_cors_on_errors(raw, upstream):
    status, headers, _ = raw.send(request({"model": "nope", "messages": []}, headers=[("Origin", "https://x.example")])).answer()
    assert status == 400 and headers["access-control-allow-origin"] in ("*", "https://x.example")


def test_options_star(raw, upstream):
    raw.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert raw.answer()[0] < 500
    ok(raw.send(request(BODY)).answer())


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_wrong_method(raw, upstream, method):
    raw.send(f"{method} /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode())
    assert raw.answer()[0] == 405
    ok(raw.send(request(BODY)).answer())


def test_unknown_path(raw, upstream):
    raw.send(request(BODY, path="/v1/no/such/path"))
    status, _, body = raw.answer()
    assert status == 404 and json.loads(body) == {"detail": "Not Found"}
    ok(raw.send(request(BODY)).answer())


def test_absolute_form(raw, upstream):
    ok(raw.send(request(BODY, path="http://gateway/v1/chat/completions")).answer())


def test_connect_is_refused(raw, upstream):
    raw.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
    assert raw.rest().split(b" ")[1] in (b"400", b"405", b"501")


def test_leading_empty_line(raw, upstream):
    ok(raw.send(b"\r\n" + request(BODY)).answer())


# What is refused with 400 and closed

def head(*lines, first="POST /v1/chat/completions HTTP/1.1", host="Host: a"):
    every = [first] + ([host] if host else []) + ["Content-Type: application/json", *lines]
    return "\r\n".join(every).encode("latin-1") + b"\r\n\r\n"


TEXT = json.dumps(BODY).encode()
LENGTH = f"Content-Length: {len(TEXT)}"
REFUSED = {
    "length_with_transfer_encoding": head(LENGTH, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "transfer_encoding_with_length": head("Transfer-Encoding: chunked", LENGTH) + b"0\r\n\r\n",
    "two_lengths": head(LENGTH, LENGTH) + TEXT,
    "two_different_lengths": head(LENGTH, "Content-Length: 5") + TEXT,
    "lengths_in_a_list": head(f"Content-Length: {len(TEXT)}, {len(TEXT)}") + TEXT,
    "coding_gzip": head("Transfer-Encoding: gzip") + b"0\r\n\r\n",
    "coding_gzip_chunked": head("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "coding_chunked_chunked": head("Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "coding_identity": head("Transfer-Encoding: identity") + b"0\r\n\r\n",
    "coding_xchunked": head("Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "coding_empty": head("Transfer-Encoding:") + b"0\r\n\r\n",
    "coding_quoted": head('Transfer-Encoding: "chunked"') + b"0\r\n\r\n",
    "coding_with_vertical_tab": head("Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "two_codings": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "coding_in_http_1_0": head("Transfer-Encoding: chunked", first="POST /v1/chat/completions HTTP/1.0") + b"0\r\n\r\n",
    "bare_lf_in_request_line": request(BODY).replace(b"\r\n", b"\n", 1),
    "bare_lf_in_header": request(BODY).replace(b"Host: gateway\r\n", b"Host: gateway\n", 1),
    "bare_lf_everywhere": request(BODY).replace(b"\r\n", b"\n"),
    "bare_cr_in_header": head("X-A: b\rX-C: d", LENGTH) + TEXT,
    "bare_cr_at_line_end": request(BODY).replace(b"Host: gateway\r\n", b"Host: gateway\r", 1),
    "obs_fold_space": head("X-A: b\r\n folded", LENGTH) + TEXT,
    "obs_fold_tab": head("X-A: b\r\n\tfolded", LENGTH) + TEXT,
    "fold_on_first_header": b"POST /v1/chat/completions HTTP/1.1\r\n Host: a\r\n\r\n",
    "space_before_colon": head(f"Content-Length : {len(TEXT)}") + TEXT,
    "space_before_colon_te": head("Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "tab_before_colon": head(f"Content-Length\t: {len(TEXT)}") + TEXT,
    "no_colon": head("Nonsense", LENGTH) + TEXT,
    "empty_name": head(": value", LENGTH) + TEXT,
    "name_with_control_byte": head("X-\x01A: b", LENGTH) + TEXT,
    "name_with_high_byte": head("X-\xe9: b", LENGTH) + TEXT,
    "value_with_nul": head("X-A: b\x00c", LENGTH) + TEXT,
    "value_with_control_byte": head("X-A: b\x07c", LENGTH) + TEXT,
    "length_plus": head(f"Content-Length: +{len(TEXT)}") + TEXT,
    "length_minus": head("Content-Length: -1") + TEXT,
    "length_hex": head(f"Content-Length: {hex(len(TEXT))}") + TEXT,
    "length_empty": head("Content-Length:") + TEXT,
    "length_letters": head("Content-Length: ten") + TEXT,
    "length_decimal": head(f"Content-Length: {len(TEXT)}.0") + TEXT,
    "length_inner_space": head("Content-Length: 1 0") + TEXT,
    "length_overflow": head("Content-Length: 99999999999999999999999999") + TEXT,
    "no_host": head(LENGTH, host=None) + TEXT,
    "two_hosts": head("Host: b", LENGTH) + TEXT,
    "two_equal_hosts": head("Host: a", LENGTH) + TEXT,
    "host_with_space": head(LENGTH, host="Host: a b") + TEXT,
    "host_with_slash": head(LENGTH, host="Host: a/b") + TEXT,
    "host_with_at": head(LENGTH, host="Host: u@a") + TEXT,
    "path_encoded_slash": request(BODY, path="/v1%2fchat/completions"),
    "path_encoded_slash_upper": request(BODY, path="/v1/chat%2Fcompletions"),
    "path_encoded_backslash": request(BODY, path="/v1/chat%5Ccompletions"),
    "path_dot_segment": request(BODY, path="/v1/./chat/completions"),
    "path_two_dots": request(BODY, path="/v1/x/../chat/completions"),
    "path_encoded_dots": request(BODY, path="/v1/x/%2e%2e/chat/completions"),
    "path_half_encoded_dots": request(BODY, path="/v1/x/.%2E/chat/completions"),
    "path_ends_in_dots": request(BODY, path="/v1/chat/completions/.."),
    "path_encoded_control": request(BODY, path="/v1/chat%00/completions"),
    "path_encoded_newline": request(BODY, path="/v1/chat%0d%0a/completions"),
    "path_control_byte": request(BODY, path="/v1/chat\x01/completions"),
    "path_high_byte": request(BODY, path="/v1/chat\xff/completions"),
    "path_bad_percent": request(BODY, path="/v1/%zz/completions"),
    "path_not_absolute": request(BODY, path="v1/chat/completions"),
    "two_spaces_in_request_line": request(BODY).replace(b"POST ", b"POST  ", 1),
    "tab_in_request_line": request(BODY).replace(b"POST ", b"POST\t", 1),
    "space_after_version": request(BODY).replace(b"HTTP/1.1\r\n", b"HTTP/1.1 \r\n", 1),
    "method_with_slash": request(BODY).replace(b"POST ", b"PO/ST ", 1),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
    "absolute_form_with_other_host": request(BODY, path="http://other/v1/chat/completions"),
    "chunk_extension": chunked(tail=b"5;a=b\r\nhello\r\n0\r\n\r\n"),
    "chunk_extension_on_last": chunked(TEXT, tail=b"0;x\r\n\r\n"),
    "chunk_size_plus": chunked(tail=b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk_size_minus": chunked(tail=b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk_size_0x": chunked(tail=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk_size_empty": chunked(tail=b"\r\nhello\r\n0\r\n\r\n"),
    "chunk_size_space": chunked(tail=b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk_size_leading_space": chunked(tail=b" 5\r\nhello\r\n0\r\n\r\n"),
    "chunk_size_overflow": chunked(tail=b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "chunk_bare_lf": chunked(tail=b"5\nhello\r\n0\r\n\r\n"),
    "chunk_data_too_long": chunked(tail=b"5\r\nhello!\r\n0\r\n\r\n"),
    "chunk_data_without_crlf": chunked(tail=b"5\r\nhello0\r\n\r\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(server, upstream, name):
    with server.connect() as raw:
        raw.send(REFUSED[name])
        status, headers, body = raw.answer()
        assert status == 400, body
        assert headers.get("connection", "").lower() == "close"
        assert raw.closed(), "the connection stayed open after a refusal"
    assert not upstream.requests, "a refused request reached the upstream"


def test_refusal_says_what_to_change(raw, upstream):
    status, _, body = raw.send(REFUSED["two_lengths"]).answer()
    message = json.loads(body)["error"]["message"]
    assert "length" in message.lower()


def test_smuggled_request_is_never_served(server, upstream):
    inner = request({**BODY, "messages": [{"role": "user", "content": "smuggled"}]})
    for first in ("length_with_transfer_encoding", "two_different_lengths", "coding_xchunked", "space_before_colon_te"):
        with server.connect() as raw:
            raw.send(REFUSED[first] + inner)
            assert raw.rest().count(b"HTTP/1.1 ") == 1
    assert not upstream.requests


def test_head_too_large(server, upstream):
    with server.connect() as raw:
        try:
            raw.send(head("X-Big: " + "a" * 200_000, LENGTH) + TEXT)
        except (ConnectionResetError, BrokenPipeError):
            pass
        rest = raw.rest()
        assert rest == b"" or rest.split(b" ")[1] in (b"400", b"413", b"414", b"431"), rest[:100]
    assert not upstream.requests


def test_too_many_headers(server, upstream):
    with server.connect() as raw:
        raw.send(head(*[f"X-{n}: 1" for n in range(1000)], LENGTH) + TEXT)
        assert raw.rest().split(b" ")[1] in (b"400", b"431")
    assert not upstream.requests


# Hop by hop

def test_hop_by_hop_is_stripped(raw, upstream):
    raw.send(request(BODY, headers=[
        ("Connection", "keep-alive, X-Named"), ("X-Named", "1"), ("Keep-Alive", "timeout=5"), ("TE", "trailers"),
        ("Proxy-Authorization", "Basic abc"), ("Proxy-Connection", "keep-alive"), ("Upgrade", "websocket"),
        ("Trailer", "X-T"), ("X-Secret-Of-Client", "1")]))
    ok(raw.answer())
    names = upstream.only.header_names()
    for name in ("x-named", "keep-alive", "te", "proxy-authorization", "proxy-connection", "upgrade", "trailer",
                 "x-secret-of-client"):
        assert name not in names


def test_hop_by_hop_from_upstream_is_stripped(raw, upstream):
    upstream.answer(Answer(body=canned.chat(), headers={
        "Connection": "X-Named", "X-Named": "1", "Keep-Alive": "timeout=5", "Proxy-Authenticate": "Basic", "Trailer": "x"}))
    headers = ok(raw.send(request(BODY)).answer())
    for name in ("x-named", "keep-alive", "proxy-authenticate", "trailer"):
        assert name not in headers


# Deadlines

def slow_request_is_ended(raw, data, gap_s):
    began = time.monotonic()
    raw.sock.settimeout(10)
    stop = threading.Event()

    def trickle():
        try:
            for byte in data:
                if stop.wait(gap_s):
                    return
                raw.send(bytes([byte]))
        except OSError:
            pass

    thread = threading.Thread(target=trickle)
    thread.start()
    rest = raw.rest()
    stop.set()
    thread.join()
    return time.monotonic() - began, rest


def test_slow_head(raw, upstream):
    took, rest = slow_request_is_ended(raw, request(BODY), 0.2)
    assert 1.0 < took < 4.0
    assert rest == b"" or rest.split(b" ")[1] == b"408"


def test_no_head_at_all(raw, upstream):
    began = time.monotonic()
    raw.sock.settimeout(10)
    raw.rest()
    assert time.monotonic() - began < 6


def test_body_stalls(raw, upstream):
    began = time.monotonic()
    raw.send(request(BODY)[:-10])
    rest = raw.rest()
    assert 1.0 < time.monotonic() - began < 4.0
    assert rest == b"" or rest.split(b" ")[1] in (b"408", b"400")
    assert not upstream.requests


def test_slow_body_that_makes_progress_is_served(raw, upstream):
    data = request(BODY)
    raw.send(data[:-12])
    for byte in data[-12:]:
        time.sleep(0.25)
        raw.send(bytes([byte]))
    ok(raw.answer())


def test_idle_connection_is_closed(raw, upstream):
    ok(raw.send(request(BODY)).answer())
    began = time.monotonic()
    assert raw.closed(8)
    assert 2.0 < time.monotonic() - began < 6.0


# Slow readers

def socket_buffer(name):
    """The most bytes that the kernel lets one socket hold: "tcp_rmem" for what arrives, "tcp_wmem" for what leaves."""
    return int(Path("/proc/sys/net/ipv4", name).read_text().split()[2])


def test_slow_reader_holds_the_upstream_back(server, upstream):
    sent = [0]
    # The kernel may hold a good part of both connections (their limits are the machine's): the stream is far longer.
    kernel_bytes = 2 * (socket_buffer("tcp_rmem") + socket_buffer("tcp_wmem"))
    count = (kernel_bytes + (16 << 20)) // 8000

    def events():
        for _ in range(count):
            sent[0] += 1
            yield canned.event(canned.chunk({"content": "x" * 8000}))

    upstream.answer(Stream(events()))
    with server.connect() as raw:
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        before = server.memory_kib()
        raw.send(request(STREAMING))
        raw.until(b"\r\n\r\n")
        time.sleep(1.0)
        assert sent[0] < count, f"{count * 8000} bytes went into a client that does not read"
        held = sent[0]
        time.sleep(0.5)
        assert sent[0] == held, "the upstream is still being read"
        assert server.memory_kib() - before < 8192
    assert upstream.only.gone.wait(3) and sent[0] < count


def test_slow_reader_gets_everything(server, upstream):
    upstream.answer(Stream(canned.chat_events(words=["x" * 8000] * 40)))
    with server.connect(60) as raw:
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        raw.send(request(STREAMING))
        body = raw.answer()[2]
    assert body.endswith(b"data: [DONE]\n\n") and body.count(b"x" * 8000) == 40


def test_slow_reader_harms_nobody(server, upstream):
    upstream.route("/v1/embeddings", Answer(body={"object": "list", "data": [], "model": "m", "usage": {}}))
    upstream.answer(Stream([canned.event(canned.chunk({"content": "x" * 8000}))] * 500))
    readers = []
    for _ in range(50):
        raw = server.connect()
        raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        readers.append(raw.send(request(STREAMING)))
    upstream.route("/v1/embeddings", Answer(body={"object": "list", "data": [], "model": "m", "usage": {}}))
    upstream.wait(50)
    began = time.monotonic()
    for _ in range(20):
        assert server.post("/v1/embeddings", {"model": "m", "input": "x"}).status_code == 200
    assert time.monotonic() - began < 2.0
    for raw in readers:
        raw.close()


def test_client_that_goes_while_sending(server, upstream):
    for _ in range(50):
        with server.connect() as raw:
            raw.send(request(BODY)[:60])
    with server.connect() as raw:
        ok(raw.send(request(BODY)).answer())
    assert not [r for r in upstream.requests[:-1]]


def test_client_resets_in_the_stream(server, upstream):
    import struct
    upstream.answer(Stream(canned.chat_events(words=["x"] * 500), gap_s=0.02))
    raw = server.connect()
    raw.send(request(STREAMING))
    raw.until(b"data: ")
    raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()
    assert upstream.only.gone.wait(3)


def test_descriptors_are_given_back(server, upstream):
    with server.connect() as raw:
        ok(raw.send(request(BODY)).answer())
    time.sleep(0.3)
    before = server.descriptors()
    upstream.answer(Stream(canned.chat_events(words=["x"] * 100), gap_s=0.01))
    for n in range(200):
        raw = server.connect()
        raw.send(request(STREAMING)[: 40 + n * 5])
        if n % 3 == 0:
            raw.until(b"HTTP/1.1 ") if 40 + n * 5 >= len(request(STREAMING)) else None
        raw.close()
    eventually(lambda: server.descriptors() <= before + 2)

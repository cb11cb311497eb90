"""HTTP/1.1 with the upstream's side: informational answers, framing, connections that turn out dead,
answers that break off, and heads that are none."""

import json
import socket
import time

import pytest

import canned
from gateway import config, entry, streamed
from mock import Answer, Call, Raw, Reset, Stream

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAMING = {**BODY, "stream": True}
CHAT = json.dumps(canned.chat()).encode()


@pytest.fixture(scope="module")
def server(shared_upstream, shared_gateway):
    return shared_gateway(config(entry("m", shared_upstream)), "--num_workers", "1")


@pytest.fixture
def upstream(shared_upstream):
    shared_upstream.reset()
    return shared_upstream


def whole(answer=CHAT, head=b"Content-Type: application/json\r\n", status=b"200 OK", before=b""):
    return before + b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, head, len(answer), answer)


def served(answer):
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "Hello there!"


def refused_as_upstream_fault(answer):
    assert answer.status_code in (500, 502, 503, 504), answer.text
    assert answer.json()["error"]["message"] and answer.json()["error"]["code"] == str(answer.status_code)


# Framing

@pytest.mark.parametrize("before", [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 5,
])
def test_informational_answers_are_skipped(server, upstream, before):
    upstream.answer(Raw(whole(before=before), then="keep"))
    served(server.chat())
    served(server.chat())


def test_body_until_close(server, upstream):
    upstream.answer(Raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + CHAT))
    served(server.chat())


def test_http_1_0_answer(server, upstream):
    upstream.answer(Raw(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + CHAT))
    served(server.chat())


def test_chunked_answer_with_trailers_and_extensions(server, upstream):
    data = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    data += b"5\r\n%s\r\n%x\r\n%s\r\n0\r\nX-Trailer: t\r\n\r\n" % (CHAT[:5], len(CHAT) - 5, CHAT[5:])
    upstream.answer(Raw(data, then="keep"))
    answer = server.chat()
    served(answer)
    assert "x-trailer" not in answer.headers


def test_answer_byte_by_byte(server, upstream):
    def trickle(connection, _):
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in whole():
            connection.send(bytes([byte]))
        return True

    upstream.answer(Call(trickle))
    served(server.chat())


def test_stream_cut_at_every_byte(server, upstream):
    text = "".join(canned.chat_events(words=["aé", "b🚀"])).encode()
    cuts = [0]

    def play(connection, _):
        cut = cuts[0]
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (text[:cut], text[cut:]):
            if part:
                connection.send(b"%x\r\n%s\r\n" % (len(part), part))
                time.sleep(0.001)
        connection.send(b"0\r\n\r\n")
        return True

    upstream.answer(Call(play))
    for cut in range(1, len(text), 7):
        cuts[0] = cut
        got = streamed(server.chat(stream=True))
        assert got[-1] == "[DONE]", cut
        assert "".join(e["choices"][0]["delta"].get("content") or "" for e in got[:-1]) == "aéb🚀", cut


def test_stream_of_crlf_events_and_comments(server, upstream):
    frames = [b": ping\r\n\r\n"] + [e.replace("\n", "\r\n").encode() for e in canned.chat_events()]
    upstream.answer(Stream(frames))
    got = streamed(server.chat(stream=True))
    assert got[-1] == "[DONE]" and len(got) == 7


def test_stream_without_final_blank_line(server, upstream):
    frames = canned.chat_events()
    frames[-1] = "data: [DONE]\n"
    upstream.answer(Stream(frames))
    assert streamed(server.chat(stream=True))[-1] == "[DONE]"


# Connections that turn out dead

def test_reset_on_a_reused_connection_is_redialled(server, upstream):
    served(server.chat())
    first = upstream.last.connection

    def play(connection, received):
        if connection.number == first:
            connection.reset()
            return False
        return Answer(body=canned.chat()).play(connection, received)

    upstream.answer(Call(play))
    served(server.chat())
    assert upstream.last.connection != first


def test_close_on_a_reused_connection_is_redialled(server, upstream):
    served(server.chat())
    first = upstream.last.connection

    def play(connection, received):
        return connection.number != first and Answer(body=canned.chat()).play(connection, received)

    upstream.answer(Call(play))
    served(server.chat())


def test_idle_close_is_noticed(server, upstream):
    upstream.answer(Answer(body=canned.chat(), close=False), Answer(body=canned.chat()))
    served(server.chat())

    upstream.answer(Call(lambda c, r: Answer(body=canned.chat()).play(c, r) and False))
    served(server.chat())
    time.sleep(0.1)
    served(server.chat())


def test_connection_close_from_upstream_is_honoured(server, upstream):
    upstream.answer(Answer(body=canned.chat(), close=True))
    for _ in range(3):
        served(server.chat())
    assert len({r.connection for r in upstream.requests}) == 3


def test_reset_on_a_fresh_connection_is_an_error(gateway, upstream):
    upstream.answer(Reset())
    server = gateway(config(entry("m", upstream)))
    refused_as_upstream_fault(server.chat())
    assert len(upstream.requests) <= 2


def test_redial_happens_once(server, upstream):
    served(server.chat())
    upstream.reset()
    upstream.answer(Reset())
    refused_as_upstream_fault(server.chat())
    assert len(upstream.requests) == 2, "one on the reused connection, one redial"


def test_connection_refused(gateway):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = gateway(config(entry("m", f"http://127.0.0.1:{port}/v1")))
    answer = server.chat()
    assert answer.status_code == 500
    assert answer.json()["error"]["message"].startswith("litellm.")


def test_name_that_does_not_resolve(gateway):
    server = gateway(config(entry("m", "http://no-such-host.invalid/v1")))
    refused_as_upstream_fault(server.chat())


# Answers that break off

@pytest.mark.parametrize("ending", ["cut", "reset"])
def test_truncated_body(server, upstream, ending):
    upstream.answer(Raw(whole()[:-20], then="close" if ending == "cut" else "reset"))
    refused_as_upstream_fault(server.chat())


def test_truncated_chunked_body(server, upstream):
    data = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream.answer(Raw(data + b"%x\r\n%s\r\n" % (len(CHAT), CHAT)))
    refused_as_upstream_fault(server.chat())


@pytest.mark.parametrize("ending", ["cut", "reset"])
def test_truncated_stream(server, upstream, ending):
    upstream.answer(Stream(canned.chat_events()[:3], gap_s=0.05, ending=ending))
    got = streamed(server.chat(stream=True))
    assert "".join(e["choices"][0]["delta"].get("content") or "" for e in got[:3]) == "Hello "
    rest = [e for e in got[3:] if e != "[DONE]"]
    assert len(rest) == 1 and rest[0]["error"]["code"] == "500", "a truncated stream looks complete"


def test_truncated_inside_an_event(server, upstream):
    upstream.answer(Stream(canned.chat_events()[:2] + ['data: {"id":"x","choi'], gap_s=0.05, ending="cut"))
    got = server.chat(stream=True).text
    assert '"error"' in got and 'data: {"id":"x","choi\n' not in got


def test_stream_that_ends_without_done(server, upstream):
    upstream.answer(Stream(canned.chat_events()[:-1]))
    got = streamed(server.chat(stream=True))
    assert got[-2 if got[-1] == "[DONE]" else -1]["choices"][0]["finish_reason"] == "stop"


def test_error_event_midway(server, upstream):
    upstream.answer(Stream(canned.chat_events()[:3] + [canned.event(canned.error("it broke", type="server_error"))]))
    got = streamed(server.chat(stream=True))
    error = [e for e in got if e != "[DONE]" and "error" in e][0]["error"]
    assert "it broke" in error["message"] and error["code"] == "500"


def test_fails_before_the_first_event(server, upstream):
    upstream.answer(Stream([], ending="cut"))
    answer = server.chat(stream=True)
    assert answer.status_code >= 500 or '"error"' in answer.text


# Heads that are none

@pytest.mark.parametrize("name,data", [
    ("garbage", b"\x00\x01\x02 not http at all\r\n\r\n"),
    ("http_2", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\x10\x00\x00"),
    ("status_letters", b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
    ("status_two_digits", b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    ("two_lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    ("length_and_coding", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("bad_chunk", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
    ("unknown_coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxxxx"),
    ("nothing", b""),
    ("half_a_head", b"HTTP/1.1 200 OK\r\nContent-Ty"),
])
def test_bad_head(server, upstream, name, data):
    upstream.answer(Raw(data))
    refused_as_upstream_fault(server.chat())
    upstream.answer(Answer(body=canned.chat()))
    served(server.chat())


def test_huge_head(server, upstream):
    upstream.answer(Raw(b"HTTP/1.1 200 OK\r\nX-Big: " + b"a" * 1_000_000 + b"\r\nContent-Length: 0\r\n\r\n"))
    refused_as_upstream_fault(server.chat())
    assert server.memory_kib() < 200_000


def test_endless_head(server, upstream):
    def play(connection, _):
        connection.send(b"HTTP/1.1 200 OK\r\n")
        for n in range(200_000):
            connection.send(b"X-%d: y\r\n" % n)

    upstream.answer(Call(play))
    refused_as_upstream_fault(server.chat())


def test_endless_event(server, upstream):
    def frames():
        yield canned.chat_events()[0]
        yield "data: "
        yield from ["x" * 8000] * 4000

    upstream.answer(Stream(frames()))
    before = server.memory_kib()
    text = server.chat(stream=True).text
    assert '"error"' in text
    assert server.memory_kib() - before < 40_000


def test_answer_that_is_not_json(server, upstream):
    upstream.answer(Answer(body=b"<html>bad gateway</html>", status=502, headers={"content-type": "text/html"}))
    answer = server.chat()
    assert answer.status_code == 502 and answer.json()["error"]["code"] == "502"


def test_answer_before_the_body_was_read(server, upstream):
    big = "x" * 4_000_000

    def early(connection, received):
        connection.send(whole(json.dumps(canned.error("too big")).encode(), status=b"413 Too Large"))
        connection.wait_gone(2)
        return False

    upstream.before_body = early
    answer = server.chat(content=big)
    assert answer.status_code in (400, 413), answer.text


def test_redirects_are_not_followed(server, upstream):
    upstream.answer(Answer(302, b"", {"location": upstream.url + "/elsewhere"}))
    answer = server.chat()
    assert answer.status_code != 200 and len(upstream.requests) == 1


def test_cookies_are_not_kept(server, upstream):
    upstream.answer(Answer(body=canned.chat(), headers={"set-cookie": "session=evil"}))
    server.chat()
    server.chat()
    assert upstream.last.header("cookie") is None


# Addresses

def test_ipv6(upstreams, gateway):
    try:
        six = upstreams(family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    server = gateway(config(entry("m", six)))
    served(server.chat())


def test_base_url_spellings(upstreams, gateway):
    up = upstreams()
    bases = [up.url + "/v1", up.url + "/v1/", up.url + "/prefix/v1"]
    server = gateway(config(*[entry(f"m{n}", base) for n, base in enumerate(bases)]))
    for n in range(len(bases)):
        served(server.chat(f"m{n}"))
    assert [r.path for r in up.requests] == ["/v1/chat/completions"] * 2 + ["/prefix/v1/chat/completions"]

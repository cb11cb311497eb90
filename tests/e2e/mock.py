"""A scripted upstream on raw sockets: it records what it received, plays what it was told, and knows
when its client has gone. It never judges; the tests do."""

import json
import select
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Callable, Iterable, Optional, Union
from urllib.parse import parse_qsl

import canned


@dataclass
class Received:
    """One request as it arrived."""

    method: str
    target: str
    version: str
    headers: list  # of (name as sent, value)
    body: bytes = b""
    raw_head: bytes = b""
    connection: int = 0
    at: float = 0.0
    trailers: bytes = b""
    chunked: bool = False
    gone: threading.Event = field(default_factory=threading.Event)
    gone_at: float = 0.0
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self):
        return self.target.split("?", 1)[0]

    @property
    def query(self):
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def json(self):
        return json.loads(self.body)

    def header(self, name, default=None):
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        return ", ".join(values) if values else default

    def header_names(self):
        return [n.lower() for n, _ in self.headers]


@dataclass
class Answer:
    """A whole answer. A body that is not bytes is sent as JSON."""

    status: int = 200
    body: Union[bytes, str, dict, list, None] = b""
    headers: dict = field(default_factory=dict)
    delay_s: float = 0.0
    reason: str = "Scripted"
    close: bool = False

    def play(self, connection, request):
        if self.delay_s and connection.wait_gone(self.delay_s):
            return False
        body, headers = self.body, dict(self.headers)
        if isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body).encode()
            if not any(n.lower() == "content-type" for n in headers):
                headers["content-type"] = "application/json"
        lines = [f"HTTP/1.1 {self.status} {self.reason}"]
        lines += [f"{n}: {v}" for n, v in headers.items()]
        lines.append(f"content-length: {len(body)}")
        if self.close:
            lines.append("connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        connection.send(head + (b"" if request.method == "HEAD" else body))
        return not self.close


@dataclass
class Stream:
    """An answer sent frame by frame with chunked framing. `ending`: done (last chunk), cut (close
    without the last chunk), reset (RST)."""

    frames: Iterable = ()
    gap_s: float = 0.0
    status: int = 200
    headers: dict = field(default_factory=lambda: {"content-type": "text/event-stream"})
    ending: str = "done"
    first_delay_s: float = 0.0
    trailers: bytes = b""

    def play(self, connection, request):
        if self.first_delay_s and connection.wait_gone(self.first_delay_s):
            return False
        lines = [f"HTTP/1.1 {self.status} Scripted"]
        lines += [f"{n}: {v}" for n, v in self.headers.items()]
        lines.append("transfer-encoding: chunked")
        connection.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        for index, frame in enumerate(self.frames):
            if self.gap_s and index and connection.wait_gone(self.gap_s):
                return False
            data = frame if isinstance(frame, bytes) else frame.encode()
            connection.send(b"%x\r\n%s\r\n" % (len(data), data))
        if self.ending == "reset":
            connection.reset()
            return False
        if self.ending == "cut":
            return False
        connection.send(b"0\r\n" + self.trailers + b"\r\n")
        return True


@dataclass
class Raw:
    """Bytes as they are, then the connection is closed (or kept, or reset)."""

    data: bytes
    then: str = "close"
    delay_s: float = 0.0

    def play(self, connection, request):
        if self.delay_s and connection.wait_gone(self.delay_s):
            return False
        connection.send(self.data)
        if self.then == "reset":
            connection.reset()
        return self.then == "keep"


@dataclass
class Hang:
    """No answer at all, until the client goes or the time is up."""

    seconds: float = 30.0

    def play(self, connection, request):
        connection.wait_gone(self.seconds)
        return False


@dataclass
class Reset:
    """The connection is reset instead of an answer."""

    def play(self, connection, request):
        connection.reset()
        return False


@dataclass
class Call:
    """Whatever the function does with (connection, request)."""

    function: Callable

    def play(self, connection, request):
        return bool(self.function(connection, request))


class Gone(Exception):
    """The client has closed the connection."""


class Connection:
    """One accepted connection, with what a script needs."""

    def __init__(self, upstream, sock, number):
        self.upstream, self.sock, self.number = upstream, sock, number
        self.buffer = b""
        self.request: Optional[Received] = None

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.mark_gone()
            raise Gone from error

    def mark_gone(self):
        if self.request is not None and not self.request.gone.is_set():
            self.request.gone_at = time.monotonic()
            self.request.gone.set()

    def wait_gone(self, seconds):
        """Waits; true as soon as the client has closed."""
        until = time.monotonic() + seconds
        while not self.upstream.stopping.is_set():
            left = until - time.monotonic()
            if left <= 0:
                return False
            readable, _, _ = select.select([self.sock], [], [], min(left, 0.2))
            if readable:
                try:
                    data = self.sock.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    self.mark_gone()
                    return True
                self.buffer += data
        return True

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise Gone
        self.buffer += data

    def _until(self, mark):
        while mark not in self.buffer:
            self._more()
        part, self.buffer = self.buffer.split(mark, 1)
        return part

    def _exactly(self, count):
        while len(self.buffer) < count:
            self._more()
        part, self.buffer = self.buffer[:count], self.buffer[count:]
        return part

    def read_head(self):
        head = self._until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, version = first.split(" ")
        headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        return Received(
            method, target, version, headers,
            raw_head=head, connection=self.number, at=time.monotonic(),
        )

    def read_body(self, request):
        if (request.header("transfer-encoding") or "").lower() == "chunked":
            request.chunked = True
            parts = []
            while True:
                size = int(self._until(b"\r\n"), 16)
                if size == 0:
                    break
                parts.append(self._exactly(size))
                assert self._exactly(2) == b"\r\n"
            while True:
                line = self._until(b"\r\n")
                if not line:
                    break
                request.trailers += line + b"\r\n"
            request.body = b"".join(parts)
        else:
            request.body = self._exactly(int(request.header("content-length") or 0))


class Upstream:
    """The scripted upstream. `answers` are played in order, the last one repeats; `routes` by path
    come first; without either it answers as an OpenAI-compatible host would (see canned.py)."""

    def __init__(self, tls_context: Optional[ssl.SSLContext] = None, family=socket.AF_INET):
        self.family = family
        self.tls = tls_context
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        self.listener.listen(1024)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Condition()
        self.requests: list[Received] = []
        self.connections = 0
        self.open_connections = 0
        self.stopping = threading.Event()
        self.script: list = []
        self.routes: dict = {}
        self.before_body: Optional[Callable] = None
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self):
        return f"127.0.0.1:{self.port}" if self.family == socket.AF_INET else f"[::1]:{self.port}"

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def answer(self, *answers):
        """Replaces the script."""
        with self.lock:
            self.script = list(answers)
            self.routes = {}
        return self

    def route(self, path, *answers):
        """Answers for one path only."""
        with self.lock:
            self.routes[path] = list(answers)
        return self

    def reset(self):
        """Forgets script and requests."""
        with self.lock:
            self.script, self.routes, self.requests = [], {}, []
            self.before_body = None

    def wait(self, count, timeout_s=10.0):
        """The first `count` requests, waited for."""
        until = time.monotonic() + timeout_s
        with self.lock:
            while len(self.requests) < count:
                left = until - time.monotonic()
                assert left > 0, f"{len(self.requests)} of {count} requests reached the upstream"
                self.lock.wait(left)
            return self.requests[:count]

    @property
    def last(self):
        assert self.requests, "no request reached the upstream"
        return self.requests[-1]

    @property
    def only(self):
        assert len(self.requests) == 1, f"{len(self.requests)} requests reached the upstream"
        return self.requests[0]

    def stop(self):
        self.stopping.set()
        # shutdown, not only close: it wakes the thread that waits in accept.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def _accept(self):
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open_connections += 1
                number = self.connections
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _next(self, request):
        with self.lock:
            self.requests.append(request)
            self.lock.notify_all()
            script = self.routes.get(request.path, self.script)
            if not script:
                return canned.answer(request)
            return script.pop(0) if len(script) > 1 else script[0]

    def _serve(self, sock, number):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            connection = Connection(self, sock, number)
            while not self.stopping.is_set():
                request = connection.read_head()
                connection.request = request
                if self.before_body and self.before_body(connection, request) is False:
                    break
                connection.read_body(request)
                keep = self._next(request).play(connection, request)
                request.done.set()
                if not keep:
                    break
        except (Gone, OSError, ValueError):
            pass
        finally:
            try:
                sock.close()
            except OSError:
                pass
            with self.lock:
                self.open_connections -= 1
                self.lock.notify_all()

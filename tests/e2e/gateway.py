"""Starts the built binary with a configuration, and stops it by its pid. Whatever it printed is in
its log; a panic in there fails the test that started it."""

import fcntl
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import httpx
import yaml

BINARY = os.environ.get("SHARDGATE_BIN", "")
DRIVER = os.environ.get("SHARDGATE_DRIVER", "auto")
KEY = "sk-master-0123456789abcdef"
READY_S = 40.0
# How many ports `free_port` goes round in: above those that durability.py draws for what it kills.
PORTS = 2_700
# What a test may not inherit: keys and settings of the person who runs it.
CLEAN = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "TMPDIR", "LANG", "TZ", "RUST_BACKTRACE")}


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    """A port for a server that binds it in a moment. Nobody else gets it meanwhile, neither another worker
    or run of this suite (they count through one file) nor an outgoing connection (it is below their range)."""
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first = max(outgoing - PORTS, 2_000)
    counter = Path(tempfile.gettempdir()) / f"shardgate-e2e-port-{os.getuid()}"
    with open(counter, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        port = int(file.read() or 0)
        for _ in range(PORTS):
            port = port + 1 if first <= port < first + PORTS - 1 else first
            if is_free(port):
                file.truncate(0)
                file.write(str(port))
                return port
    raise OSError("no free port")


def entry(name, upstream, model=None, info=None, **params):
    """One model_list entry that goes to `upstream` (a mock, or a base URL)."""
    base = upstream if isinstance(upstream, str) else upstream.url + "/v1"
    made = {"model": model or "openai/upstream-model", "api_base": base, "api_key": "sk-upstream-key"}
    made.update(params)
    made = {k: v for k, v in made.items() if v is not None}
    return {"model_name": name, "litellm_params": made, **({"model_info": info} if info else {})}


def config(*entries, general=None, litellm=None, router=None, **sections):
    """A whole configuration; retries are off unless the test is about them."""
    made = {
        "model_list": list(entries),
        "router_settings": {"num_retries": 0, "disable_cooldowns": True, **(router or {})},
        **sections,
    }
    made["router_settings"] = {k: v for k, v in made["router_settings"].items() if v is not None}
    if general:
        made["general_settings"] = general
    if litellm:
        made["litellm_settings"] = litellm
    return made


def admin(server, path, body, status=200, key=KEY):
    """POSTs to the management API and reads the answer."""
    answer = server.post(path, body, key=key)
    assert answer.status_code == status, answer.text
    return answer.json()


def get(server, path, by=KEY, status=200, **query):
    """GETs from the management API and reads the answer."""
    answer = server.client.get(path, params=query, headers={"authorization": f"Bearer {by}"})
    assert answer.status_code == status, answer.text
    return answer.json()


def error(answer):
    """The error of an answer."""
    return answer.json()["error"]


def streamed(answer):
    """The payloads of a stream of events, as JSON; [DONE] as it is."""
    lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def said(events):
    """The text of a chat's events."""
    return "".join(c["delta"].get("content") or "" for e in events if e != "[DONE]" for c in e.get("choices", []))


def says(answer, status, text):
    """Asserts that an answer is an error with this status and that its message holds this text."""
    assert answer.status_code == status, answer.text
    assert text in error(answer)["message"], answer.text


def eventually(holds, seconds=10.0, why="it never happened"):
    """Waits until it holds, and answers what it said."""
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until, why
        time.sleep(0.05)
    return found


def new_key(server, **fields):
    """What /key/generate answers."""
    return admin(server, "/key/generate", fields)


def made_key(server, **fields):
    """A new key itself."""
    return new_key(server, **fields)["key"]


class Gateway:
    """One running gateway."""

    def __init__(self, configuration, *flags, env=None, folder=None, port=None, wait=True, files_max=None,
                 binary=None, scheme="http", host="127.0.0.1", verify=False, argv=None, prefix=()):
        self.folder = Path(folder or tempfile.mkdtemp(prefix="shardgate-e2e-"))
        self.port = port or free_port()
        self.scheme, self.host, self.verify = scheme, host, verify
        self.path = self.folder / f"config-{self.port}.yaml"
        self.write(configuration)
        self.log_path = self.folder / f"log-{self.port}.txt"
        command = [*prefix, binary or BINARY]
        command += argv if argv is not None else ["--config", str(self.path), "--port", str(self.port), "--host", host]
        if DRIVER != "auto" and "--io-driver" not in flags:
            command += ["--io-driver", DRIVER]
        command += [str(flag) for flag in flags]

        def limit():
            if files_max:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))

        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**CLEAN, **(env or {})}, cwd=self.folder, preexec_fn=limit,
            )
        self.client = self.new_client()
        if wait:
            try:
                self.wait_ready()
            except BaseException:
                self.process.kill()
                raise

    def write(self, configuration):
        """Writes the file anew: a mapping, or text as it is."""
        text = configuration if isinstance(configuration, str) else yaml.safe_dump(configuration, sort_keys=False)
        self.path.write_text(text)

    def new_client(self, timeout=30, **more):
        """A client with connections of its own. It reads no certificates unless `verify` names them: to read
        the machine's takes longer than a test does."""
        return httpx.Client(base_url=self.base_url, trust_env=False, timeout=timeout, verify=self.verify, **more)

    @property
    def base_url(self):
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, seconds=READY_S):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.log}")
            try:
                # A connection of its own each time: the shards' idle connections stay as a test left them.
                with self.new_client(timeout=2) as client:
                    if client.get("/health/readiness").status_code == 200:
                        return self
            except httpx.TransportError:
                pass
            time.sleep(0.01)
        raise AssertionError(f"not ready after {seconds} s:\n{self.log}")

    def wait_log(self, pattern, seconds=10.0, start=0):
        """Waits until the log matches; returns the match."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = re.search(pattern, self.log[start:], re.MULTILINE | re.IGNORECASE)
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError(f"the log never said {pattern!r}:\n{self.log}")

    def post(self, path, body=None, key=None, **more):
        headers = {**({"authorization": f"Bearer {key}"} if key else {}), **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return self.client.post(path, headers=headers, **more)

    def chat(self, model="m", content="hi", key=None, headers=None, **body):
        message = {"model": model, "messages": [{"role": "user", "content": content}], **body}
        return self.post("/v1/chat/completions", message, key=key, headers=headers or {})

    def connect(self, timeout_s=10.0):
        """A raw connection."""
        return Raw(socket.create_connection((self.host, self.port), timeout=timeout_s))

    def reload(self, configuration=None):
        """SIGHUP, after the file was written anew where one is given."""
        if configuration is not None:
            self.write(configuration)
        self.process.send_signal(signal.SIGHUP)

    def terminate(self, seconds=40.0):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_kib(self):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        return 0

    def stop(self):
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        log = self.log
        assert not re.search(r"\bpanic(ked)?\b", log), f"the gateway panicked:\n{log}"


class Raw:
    """A raw client connection with a small reader of answers."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode("latin-1"))
        return self

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _more(self):
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def until(self, mark):
        while mark not in self.buffer:
            if not self._more():
                raise ConnectionError(f"closed before {mark!r}: {self.buffer[:500]!r}")
        part, self.buffer = self.buffer.split(mark, 1)
        return part

    def exactly(self, count):
        while len(self.buffer) < count:
            if not self._more():
                raise ConnectionError(f"closed with {len(self.buffer)} of {count} bytes")
        part, self.buffer = self.buffer[:count], self.buffer[count:]
        return part

    def rest(self):
        """Everything up to the end of the connection."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            pass
        part, self.buffer = self.buffer, b""
        return part

    def closed(self, seconds=5.0):
        """True when the other side closes within that time, with nothing more to read."""
        self.sock.settimeout(seconds)
        try:
            return not self.buffer and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def answer(self, head_only=False):
        """Reads one answer, informational ones skipped: (status, headers by lower-case name, body)."""
        status = 100
        while 100 <= status < 200:
            head = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
        headers = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        if head_only or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(iter(self.chunk, b""))
            return status, headers, body
        if "content-length" in headers:
            return status, headers, self.exactly(int(headers["content-length"]))
        return status, headers, self.rest()

    def chunk(self):
        """One chunk of a chunked body; empty at its end."""
        size = int(self.until(b"\r\n").split(b";")[0], 16)
        data = self.exactly(size)
        if size:
            assert self.exactly(2) == b"\r\n"
        else:
            while self.until(b"\r\n"):
                pass
        return data


def request(body, path="/v1/chat/completions", method="POST", headers=(), host="gateway"):
    """The bytes of a request with a JSON body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    lines += [f"{n}: {v}" for n, v in headers] + [f"Content-Length: {len(data)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + data

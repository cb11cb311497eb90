"""router_settings of the connections to upstreams: how many, how long unused, how soon they must stand."""

import socket
import time

from gateway import config, entry, eventually
from routing import many, settings, slow


def test_connect_timeout(gateway, upstream):
    # A listener that accepts nobody: once its queue is full, nobody's SYN is answered.
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    time.sleep(0.1)
    made = config(entry("m", f"http://127.0.0.1:{port}/v1"), entry("other", upstream), router=settings(connect_timeout=0.4, fallbacks=[{"m": ["other"]}]))
    server = gateway(made)
    began = time.monotonic()
    answer = server.chat()
    took = time.monotonic() - began
    assert answer.status_code == 200 and answer.headers["x-litellm-attempted-fallbacks"] == "1"
    assert 0.35 < took < 2, took
    for one in [*waiting, full]:
        one.close()


def test_upstream_idle_timeout(gateway, upstream):
    server = gateway(config(entry("m", upstream), router=settings(upstream_idle_timeout=1)), "--num_workers", 1)
    assert server.chat().status_code == 200 and server.chat().status_code == 200
    assert (upstream.connections, upstream.open_connections) == (1, 1)
    eventually(lambda: upstream.open_connections == 0, 5)


def test_max_idle_connections(gateway, upstream):
    upstream.answer(slow(0.3))
    server = gateway(config(entry("m", upstream), router=settings(max_idle_connections=2)), "--num_workers", 1)
    assert many(server, 6, threads=6) == {200: 6}
    assert upstream.connections == 6
    eventually(lambda: upstream.open_connections == 2, 5)


def test_max_upstream_connections(gateway, upstream):
    upstream.answer(slow(0.2))
    server = gateway(config(entry("m", upstream), router=settings(max_upstream_connections=2)), "--num_workers", 1)
    began = time.monotonic()
    assert many(server, 6, threads=6) == {200: 6}
    assert upstream.connections == 2 and time.monotonic() - began > 0.55, "the others wait for one of the two"

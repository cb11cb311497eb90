"""How Redis is reached, parameter by parameter, with a real one: who logs in, whether the line is
encrypted and whose certificate is taken, what stands in cache_kwargs, cache_params or the environment."""

import pytest

import redis_server
from gateway import KEY, config, entry
from test_fleet import admitted_exactly, agreed, cluster, fleet, place, redis, sentinel  # noqa: F401
from test_tls import authority, certificate, leaf  # noqa: F401

USER, PASSWORD = "gate", "open-sesame"


@pytest.fixture
def guarded(redis):  # noqa: F811
    """A Redis where only one user may do what is needed, and nothing else: nobody gets in without a name."""
    redis.cli("acl", "setuser", USER, "on", f">{PASSWORD}", "~shardgate:*", "&*", "+@all", "-@admin", "-@dangerous")
    redis.cli("acl", "setuser", "default", "-@all", "+ping", "+acl|setuser", "+client|list")
    return redis


def started(database, upstream, gateway, general=None, env=None, **sections):
    made = config(entry("m", upstream), general={"master_key": KEY, "database_url": database.url, **(general or {})}, **sections)
    return gateway(made, "--num_workers", "2", env=env)


def reached(server, seconds=15):
    server.wait_log("limits are agreed", seconds=seconds)
    assert PASSWORD not in server.log


def refused(server):
    server.wait_log("redis .*away", seconds=15)
    assert "limits are agreed" not in server.log
    # It serves all the same, with its own share.
    assert server.chat(key=KEY).status_code == 200


WAYS = {
    "redis_username": lambda port: {"router": {"redis_host": "127.0.0.1", "redis_port": port, "redis_username": USER, "redis_password": PASSWORD}},
    "cache_kwargs": lambda port: {"router": {"redis_host": "127.0.0.1", "redis_port": port, "redis_password": PASSWORD,
                                             "cache_kwargs": {"username": USER}}},
    "redis_url": lambda port: {"router": {"redis_url": f"redis://{USER}:{PASSWORD}@127.0.0.1:{port}/2"}},
    "cache_params": lambda port: {"litellm": {"cache": True, "cache_params": {
        "type": "redis", "host": "127.0.0.1", "port": port, "username": USER, "password": PASSWORD}}},
    "environment": lambda port: {"env": {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port), "REDIS_USERNAME": USER,
                                         "REDIS_PASSWORD": PASSWORD}},
}


@pytest.mark.parametrize("way", WAYS)
def test_redis_username(database, upstream, gateway, guarded, way):
    server = started(database, upstream, gateway, **WAYS[way](guarded.port))
    reached(server)
    users = [word for line in guarded.cli("client", "list").splitlines() for word in line.split() if word.startswith("user=")]
    assert f"user={USER}" in users
    assert users.count("user=default") == 1, "only the one that asks"


def test_redis_username_without_its_password(database, upstream, gateway, guarded):
    router = {"redis_host": "127.0.0.1", "redis_port": guarded.port, "redis_username": USER, "redis_password": "wrong-sesame"}
    server = started(database, upstream, gateway, router=router)
    refused(server)
    assert "wrong-sesame" not in server.log


@pytest.fixture
def encrypted(leaf, tmp_path):  # noqa: F811
    """A Redis whose second port speaks TLS only, with a certificate that nobody knows but our authority."""
    if not redis_server.installed():
        pytest.skip("no redis-server")
    port = redis_server.free_port()
    made = redis_server.Redis("--tls-port", str(port), "--tls-cert-file", str(leaf[0]), "--tls-key-file", str(leaf[1]),
                              "--tls-ca-cert-file", str(leaf[0]), "--tls-auth-clients", "no")
    made.tls_port = port
    yield made
    made.close()


ENCRYPTED = {
    "redis_ssl": lambda port: {"router": {"redis_host": "127.0.0.1", "redis_port": port, "redis_ssl": True}},
    "by name": lambda port: {"router": {"redis_host": "localhost", "redis_port": port, "redis_ssl": True}},
    "cache_kwargs": lambda port: {"router": {"redis_host": "127.0.0.1", "redis_port": port, "cache_kwargs": {"ssl": True}}},
    "redis_url": lambda port: {"router": {"redis_url": f"rediss://127.0.0.1:{port}"}},
    "cache_params": lambda port: {"litellm": {"cache": True, "cache_params": {
        "type": "redis", "host": "127.0.0.1", "port": port, "ssl": True}}},
    "environment": lambda port: {"env": {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port), "REDIS_SSL": "true"}},
}


@pytest.mark.parametrize("way", ENCRYPTED)
def test_redis_ssl(database, upstream, gateway, encrypted, authority, way):  # noqa: F811
    how = ENCRYPTED[way](encrypted.tls_port)
    env = {**how.pop("env", {}), "SSL_CERT_FILE": str(authority[0])}
    reached(started(database, upstream, gateway, env=env, **how))


def test_redis_ssl_takes_no_strange_certificate(database, upstream, gateway, encrypted):
    refused(started(database, upstream, gateway, **ENCRYPTED["redis_ssl"](encrypted.tls_port)))


def test_redis_ssl_is_not_forgotten(database, upstream, gateway, encrypted, authority):  # noqa: F811
    """TLS against a port without, and none against a port with it: neither works in plain text."""
    for port, ssl in ((encrypted.port, True), (encrypted.tls_port, False)):
        router = {"redis_host": "127.0.0.1", "redis_port": port, "redis_ssl": ssl}
        refused(started(database, upstream, gateway, env={"SSL_CERT_FILE": str(authority[0])}, router=router))


def test_cache_kwargs_startup_nodes(fleet, cluster):  # noqa: F811
    servers = fleet(2, {"cache_kwargs": {"startup_nodes": cluster.startup_nodes}})
    assert admitted_exactly(servers) == 40


def test_cache_kwargs_sentinel_nodes(fleet, sentinel):  # noqa: F811
    servers = fleet(2, {"cache_kwargs": {"service_name": "mymaster", "sentinel_nodes": sentinel.nodes}})
    assert admitted_exactly(servers) == 40


def test_socket_timeout(database, upstream, gateway, redis):  # noqa: F811
    """A Redis that answers later than that counts as away, one that answers sooner does not."""
    params = {"type": "redis", "host": "127.0.0.1", "port": redis.port, "socket_timeout": 2}
    server = started(database, upstream, gateway, litellm={"cache": True, "cache_params": params})
    reached(server)
    redis.cli("client", "pause", 700)
    key = server.post("/key/generate", {"rpm_limit": 10}, key=KEY).json()["key"]
    assert server.chat(key=key).status_code == 200
    assert "away" not in server.log
    start = len(server.log)
    redis.cli("client", "pause", 4000)
    server.wait_log("redis .*away", seconds=10, start=start)


def test_redis_host_is_one_for_all(database, upstream, gateway, redis):  # noqa: F811
    """What stands in the router's section wins over the cache's, and both over the environment."""
    wrong = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1"}
    params = {"cache": True, "cache_params": {"type": "redis", "host": "127.0.0.1", "port": redis.port}}
    reached(started(database, upstream, gateway, env=wrong, litellm=params))
    reached(started(database, upstream, gateway, env=wrong, router=place(redis)))

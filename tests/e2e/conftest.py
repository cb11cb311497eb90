"""Fixtures: a scripted upstream, a gateway that is stopped by its pid, and the list of known defects.

A test that fails because of the gateway is not loosened and not skipped: it stands in
known_defects.txt with its reason, runs all the same, and is counted apart. One that begins to pass is
named at the end: take it off the list."""

import os
from pathlib import Path

import openai
import pytest

import gateway as gateways
import mock
import postgres

HERE = Path(__file__).parent


def pytest_configure(config):
    if not gateways.BINARY or not os.access(gateways.BINARY, os.X_OK):
        raise pytest.UsageError("set SHARDGATE_BIN to the built binary, or use tests/e2e/run")


def known_defects():
    """Test ids of this driver, each with its reason."""
    known = {}
    for line in (HERE / "known_defects.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition("  ")
            driver, _, plain = name.partition(" ") if name.startswith(("uring ", "epoll ")) else ("", "", name)
            if driver in ("", gateways.DRIVER):
                known[plain.strip()] = reason.strip()
    return known


def pytest_collection_modifyitems(items):
    known = known_defects()
    for item in items:
        reason = known.get(item.nodeid)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=False))


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.stats.get("xpassed", []):
        terminalreporter.write_line(f"passes now, take it off known_defects.txt: {report.nodeid}")


@pytest.fixture
def upstream():
    made = mock.Upstream()
    yield made
    made.stop()


@pytest.fixture
def upstreams():
    """Several upstreams: call it for each."""
    made = []

    def start(**how):
        made.append(mock.Upstream(**how))
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture
def gateway(tmp_path):
    """gateway(configuration, *flags, env={...}): a running gateway, stopped at the end of the test."""
    made = []

    def start(configuration, *flags, **how):
        made.append(gateways.Gateway(configuration, *flags, folder=tmp_path, **how))
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture(scope="module")
def shared_upstream():
    made = mock.Upstream()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory):
    """As `gateway`, for a whole file whose tests share one configuration."""
    made = []

    def start(configuration, *flags, **how):
        made.append(gateways.Gateway(configuration, *flags, folder=tmp_path_factory.mktemp("shared"), **how))
        return made[-1]

    yield start
    for one in made:
        one.stop()


@pytest.fixture(scope="module")
def client(server):
    """OpenAI's client of a file's own gateway."""
    with openai.OpenAI(base_url=server.base_url + "/v1", api_key=gateways.KEY, max_retries=0, timeout=20) as made:
        yield made


@pytest.fixture(scope="module")
def database():
    """A Postgres for a whole file; its tests are skipped where there is none."""
    try:
        made = postgres.Postgres()
    except FileNotFoundError as missing:
        pytest.skip(f"Postgres: {missing}")
    yield made
    made.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(request):
    """Each of the two stores: the general_settings that choose it."""
    return {"database_url": request.getfixturevalue("database").url} if request.param == "postgres" else {}

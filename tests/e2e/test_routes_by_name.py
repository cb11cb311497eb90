"""Every route of the management API by its name, on both stores: a good request, who may call it, a bad
request. A route of the OpenAPI document without a case fails, and so does a case without a route."""

import json
import re
from pathlib import Path

import pytest

from gateway import KEY, config, entry, eventually, get
from mock import Answer
from routes_by_name import CASES, STATUS, World

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
PUBLIC = {"GET /", "GET /routes", "GET /test", "GET /openapi.json", "GET /docs", "GET /public/litellm_model_cost_map"}


def management():
    """The routes that shards do not serve themselves."""
    operations = ((path, method, what) for path, methods in DOCUMENT["paths"].items() for method, what in methods.items())
    return {f"{method.upper()} {path}" for path, method, what in operations if "operationId" in what}


def test_every_route_has_a_case():
    assert management() - set(CASES) == set(), "add cases to routes_by_name.py"
    assert set(CASES) - management() == set(), "cases of routes that are not there"
    assert len(CASES) >= 216


@pytest.fixture(scope="module")
def world(store, shared_upstream, shared_gateway):
    """A gateway with some calls behind it: one that succeeded, one of a session, one that an upstream refused."""
    server = shared_gateway(config(
        entry("m", shared_upstream, input_cost_per_token=0.001, output_cost_per_token=0.002), entry("other", shared_upstream),
        general={"master_key": KEY, "store_model_in_db": True, "proxy_batch_write_at": 0.1, **store},
        litellm={"store_audit_logs": True},
        router={"provider_budget_config": {"openai": {"budget_limit": 1000, "time_period": "1d"}}}))
    made = World(server)
    user = made.user()
    key = made.key(user_id=user, team_id=made.team(), key_alias=made.name("caller"))
    assert server.chat(key=key, user="somebody", metadata={"tags": ["battery"]}).status_code == 200
    assert server.chat(key=key, litellm_session_id="session-of-the-battery").status_code == 200
    shared_upstream.answer(Answer(429, {"error": {"message": "slow down", "type": "rate_limit", "code": None, "param": None}}))
    assert server.chat(key=key).status_code == 429
    shared_upstream.reset()
    eventually(lambda: len(get(server, "/spend/logs")) >= 3 and get(server, "/global/spend")["spend"] > 0,
               why="the calls never reached the database")
    made.plain = made.key()
    made.viewer = made.admin("/user/new", user_id=made.name("viewer"), user_role="proxy_admin_viewer")["key"]
    return made


def call(world, route, request, key):
    method, path = route.split(" ", 1)
    parts = {name: request[name] for name in re.findall(r"{(\w+)}", path)}
    headers = {"authorization": f"Bearer {key}"} if key else {}
    sent = {"json": request["body"]} if "body" in request else {}
    return world.server.client.request(method, path.format(**parts), params=request.get("query"), headers=headers, **sent)


def answered(answer):
    kind = answer.headers["content-type"]
    return answer.json() if kind.startswith(("application/json", "application/yaml")) else answer.text


@pytest.mark.parametrize("route", sorted(CASES))
def test_route(world, route):
    make, expect, plain, bad = CASES[route]
    request = make(world)
    if route not in PUBLIC:
        assert call(world, route, request, None).status_code == 401, "nobody gets anything without a key"
    refused = call(world, route, request, world.plain)
    assert refused.status_code == plain, refused.text
    if plain >= 400:
        assert "error" in refused.json(), refused.text
    # Who may only look changes nothing.
    if not route.startswith("GET ") and route not in {"POST /key/health", "POST /v2/key/info", "POST /organization/info"} and plain != 200:
        looked = call(world, route, request, world.viewer)
        assert looked.status_code in (401, 403), looked.text
    answer = call(world, route, request, KEY)
    assert answer.status_code == STATUS.get(route, 200), answer.text
    if answer.status_code == 204:
        assert not answer.content and call(world, route, request, KEY).status_code == 404, "gone"
        expect = ()
    body = answered(answer) if answer.content else None
    if body is None:
        pass
    elif isinstance(expect, (set, tuple)):
        assert set(expect) <= set(body), body
    elif isinstance(expect, type):
        assert isinstance(body, expect), body
    else:
        expect(body, request)
    if bad is not None:
        wrong, status = bad(world)
        answer = call(world, route, wrong, KEY)
        assert answer.status_code == status, answer.text
        assert {"error", "detail"} & set(answer.json()), answer.text

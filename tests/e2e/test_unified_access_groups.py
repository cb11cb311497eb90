"""`/v1/access_group`: what a group of it adds to the models of the keys and teams that have it."""

import uuid

import pytest

from gateway import KEY, admin, config, entry, eventually, made_key, new_key


@pytest.fixture
def server(store, shared_upstream, gateway):
    models = [entry(name, shared_upstream) for name in ("a", "b", "c")]
    return gateway(config(*models, general={"master_key": KEY, **store}))


def group(server, **fields):
    answer = server.post("/v1/access_group", {"access_group_name": str(uuid.uuid4()), **fields}, key=KEY)
    assert answer.status_code == 201, answer.text
    return answer.json()["access_group_id"]


def may(server, key):
    return "".join(name for name in "abc" if server.chat(model=name, key=key).status_code == 200)


def call(server, method, path, body=None):
    sent = {"json": body} if body is not None else {}
    return server.client.request(method, path, headers={"authorization": f"Bearer {KEY}"}, **sent)


def test_a_key_of_a_group_may_use_its_models(server):
    made = new_key(server, models=["a"])
    key = made["key"]
    assert may(server, key) == "a"
    one = group(server, access_model_names=["b"], assigned_key_ids=[made["token"]])
    eventually(lambda: may(server, key) == "ab", why="the group's model was never granted")
    assert call(server, "PUT", f"/v1/access_group/{one}", {"access_model_names": ["c"]}).status_code == 200
    eventually(lambda: may(server, key) == "ac", why="the group's models never changed")
    assert call(server, "DELETE", f"/v1/access_group/{one}").status_code == 204
    eventually(lambda: may(server, key) == "a", why="the group's models stayed")


def test_a_key_names_its_groups_itself(server):
    one = group(server, access_model_names=["c"])
    assert may(server, made_key(server, models=["a"], access_group_ids=[one])) == "ac"
    assert may(server, made_key(server, access_group_ids=[one])) == "abc", "a key without a list has all models"


def test_a_team_of_a_group_may_use_its_models(server):
    team = admin(server, "/team/new", {"models": ["a"]})["team_id"]
    key = made_key(server, team_id=team)
    assert may(server, key) == "a"
    one = group(server, access_model_names=["b"], assigned_team_ids=[team])
    eventually(lambda: may(server, key) == "ab", why="the group's model was never granted")
    assert call(server, "PUT", f"/v1/access_group/{one}", {"assigned_team_ids": []}).status_code == 200
    eventually(lambda: may(server, key) == "a", why="the team kept the group")


def test_two_groups_have_two_names(server):
    name, other_name = str(uuid.uuid4()), str(uuid.uuid4())
    one = group(server, access_group_name=name)
    assert server.post("/v1/access_group", {"access_group_name": name}, key=KEY).status_code == 409
    other = server.post("/v1/unified_access_group", {"access_group_name": other_name}, key=KEY).json()["access_group_id"]
    assert call(server, "PUT", f"/v1/access_group/{other}", {"access_group_name": name}).status_code == 409
    assert call(server, "PUT", f"/v1/access_group/{one}", {"access_group_name": name}).status_code == 200

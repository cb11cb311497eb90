"""`store_virtual_keys`: virtual keys are kept in the secret manager as long as they live, on both stores."""

import time

import pytest

import secret_managers
from gateway import KEY, admin, config, entry, eventually, new_key


@pytest.fixture(params=secret_managers.ALL, ids=lambda made: made.system)
def manager(request):
    made = request.param()
    yield made
    made.stop()


@pytest.fixture
def start(gateway, upstream, manager, store):
    def made(env=None, **settings):
        general = {"master_key": KEY, **store, "key_management_system": manager.system,
                   "key_management_settings": {"access_mode": "write_only", **settings}}
        return gateway(config(entry("m", upstream), general=general), env={**manager.env(), **(env or {})})

    return made


def alias():
    return f"app-{time.time_ns()}"


def test_store_virtual_keys(start, manager):
    server = start(store_virtual_keys=True)
    named, plain = alias(), new_key(server)
    made = new_key(server, key_alias=named)
    there = {f"litellm/{named}": made["key"], f"litellm/virtual-key-{plain['token']}": plain["key"]}
    assert manager.secrets == {manager.name(name): key for name, key in there.items()}
    # A renewed key stands where the old one stood.
    renewed = admin(server, "/key/regenerate", {"key": made["key"]})["key"]
    assert manager.secrets[manager.name(f"litellm/{named}")] == renewed != made["key"]
    # A key without an alias is named by its hash, before and after.
    again = admin(server, "/key/regenerate", {"key": plain["key"]})
    assert manager.name(f"litellm/virtual-key-{plain['token']}") not in manager.secrets
    assert manager.secrets[manager.name(f"litellm/virtual-key-{again['token']}")] == again["key"]
    # A new alias takes the secret along, by /key/update and when the key is renewed.
    other, third = alias(), alias()
    admin(server, "/key/update", {"key": renewed, "key_alias": other})
    assert manager.secrets[manager.name(f"litellm/{other}")] == renewed
    renewed = admin(server, "/key/regenerate", {"key": renewed, "key_alias": third})["key"]
    assert manager.secrets[manager.name(f"litellm/{third}")] == renewed and len(manager.secrets) == 2
    # Deleted keys go, whoever deletes them.
    admin(server, "/key/delete", {"keys": [renewed, again["key"]]})
    assert manager.secrets == {}
    # A name that was used before is free again.
    made = new_key(server, key_alias=third)
    assert manager.secrets == {manager.name(f"litellm/{third}"): made["key"]}
    for secret in ("vault-token", "aws-secret", "shh", made["key"], renewed):
        assert secret not in server.log


def test_store_virtual_keys_of_teams_users_and_their_ends(start, manager):
    server = start(store_virtual_keys=True)
    team = admin(server, "/team/new", {})["team_id"]
    user = admin(server, "/user/new", {"user_id": alias()})
    service = admin(server, "/key/service-account/generate", {"team_id": team, "key_alias": alias()})
    assert sorted(manager.secrets.values()) == sorted([user["key"], service["key"]])
    admin(server, "/team/delete", {"team_ids": [team]})
    assert list(manager.secrets.values()) == [user["key"]]
    admin(server, "/user/delete", {"user_ids": [user["user_id"]]})
    assert manager.secrets == {}


def test_store_virtual_keys_of_keys_that_renew_themselves(start, manager):
    rotation = {"LITELLM_KEY_ROTATION_ENABLED": "true", "LITELLM_KEY_ROTATION_CHECK_INTERVAL_SECONDS": "0.2"}
    server = start(store_virtual_keys=True, env=rotation)
    named = alias()
    made = new_key(server, key_alias=named, auto_rotate=True, rotation_interval="1s")["key"]
    there = manager.name(f"litellm/{named}")
    assert manager.secrets[there] == made
    fresh = eventually(lambda: manager.secrets[there] != made and manager.secrets[there])
    assert fresh.startswith("sk-")


def test_store_virtual_keys_waits_for_no_manager(start, manager):
    server = start(store_virtual_keys=True)
    manager.down = True
    made = new_key(server, key_alias=alias())
    assert server.chat(key=made["key"]).status_code == 200, "a manager that is away stops nobody"
    server.wait_log(rf"the secret of a virtual key is not up to date.*{made['token']}")
    admin(server, "/key/delete", {"keys": [made["key"]]})
    assert server.chat(key=made["key"]).status_code == 401
    assert made["key"] not in server.log


def test_store_virtual_keys_is_off_by_default(start, manager):
    server = start()
    new_key(server, key_alias=alias())
    assert manager.asked == []


def test_prefix_for_stored_virtual_keys(start, manager):
    for prefix in ("gateway/keys/", "gateway/keys"):
        server = start(store_virtual_keys=True, prefix_for_stored_virtual_keys=prefix)
        made = new_key(server, key_alias=alias())
        assert manager.secrets == {manager.name(f"gateway/keys/{made['key_alias']}"): made["key"]}
        # No alias leads out of there.
        for away in ("../OPENAI_API_KEY", "..", "a//b"):
            key = new_key(server, key_alias=away)
            assert manager.secrets.pop(manager.name(f"gateway/keys/virtual-key-{key['token']}")) == key["key"]
            admin(server, "/key/delete", {"keys": [key["key"]]})
        admin(server, "/key/delete", {"keys": [made["key"]]})
        assert manager.secrets == {} and server.terminate() == 0
    with pytest.raises(AssertionError, match="prefix_for_stored_virtual_keys must not be empty"):
        start(store_virtual_keys=True, prefix_for_stored_virtual_keys="")

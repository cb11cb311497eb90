"""Settings, credentials and changes that the database keeps (`store_model_in_db`): what they do once they
are stored, on both stores; each test is named after its parameter or route."""

import pytest

from gateway import KEY, admin, config, entry, eventually, get, new_key

LENT = {"credential_name": "vendor", "credential_values": {"api_key": "sk-lent-to-models-0123"}}


@pytest.fixture
def start(store, gateway, upstream):
    def made(*entries, litellm=None, **general):
        general = {"master_key": KEY, "store_model_in_db": True, **store, **general}
        sections = {"credential_list": general.pop("credential_list")} if "credential_list" in general else {}
        return gateway(config(*(entries or [entry("m", upstream)]), general=general, litellm=litellm, **sections))

    yield made


@pytest.fixture(autouse=True)
def clean(store, request):
    """The Postgres of a whole file keeps what one test stored."""
    database = request.getfixturevalue("database") if store else None
    yield
    for table in ("LiteLLM_Config", "LiteLLM_ProxyModelTable", "LiteLLM_CredentialsTable") if database else ():
        database.query(f'DELETE FROM "{table}"')


def patch(server, path, body, status=200):
    answer = server.client.patch(path, json=body, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_config_update_acts_at_once_and_survives(start, upstream):
    server = start()
    assert server.chat(key=KEY).status_code == 200
    admin(server, "/config/update", {"general_settings": {"enforce_user_param": True}})
    assert server.chat(key=KEY).status_code == 400, "the stored setting is in force"
    # One that the file would not be allowed either is refused, and nothing of it stays.
    admin(server, "/config/update", {"general_settings": {"allowed_ips": ["nowhere"], "enforce_user_param": False}}, 400)
    assert server.chat(key=KEY).status_code == 400
    assert server.terminate() == 0
    again = start()
    assert again.chat(key=KEY).status_code == 400, "and after a restart"
    admin(again, "/config/field/delete", {"field_name": "enforce_user_param"})
    assert again.chat(key=KEY).status_code == 200, "the file's value counts again"


def test_config_update_environment_variables(start, upstream, store, request):
    server = start(entry("m", upstream))
    admin(server, "/config/update", {"environment_variables": {"STORED_KEY": "sk-from-a-stored-variable"}})
    server.write(config(entry("m", upstream, api_key="os.environ/STORED_KEY"),
                        general={"master_key": KEY, "store_model_in_db": True, **store}))
    admin(server, "/config/reload", {})
    assert server.chat(key=KEY).status_code == 200
    assert upstream.last.header("authorization") == "Bearer sk-from-a-stored-variable"
    if store:
        kept = request.getfixturevalue("database").query('SELECT param_value FROM "LiteLLM_Config"')
        assert "sk-from-a-stored-variable" not in str(kept), "variables are sealed at rest"
    assert "sk-from-a-stored-variable" not in server.log
    assert "sk-from-a-stored-variable" not in server.client.get("/config/yaml", headers={"authorization": f"Bearer {KEY}"}).text


def test_config_update_reaches_another_instance(start, store):
    if not store:
        pytest.skip("instances share a Postgres")
    one, two = start(), start()
    admin(one, "/config/update", {"general_settings": {"enforce_user_param": True}})
    eventually(lambda: two.chat(key=KEY).status_code == 400, 5, "the other instance never heard of it")


def test_credential_list_and_litellm_credential_name(start, upstream):
    lends = entry("m", upstream, api_key=None, litellm_credential_name="vendor")
    own = entry("own", upstream, api_key="sk-its-own-key-0123", litellm_credential_name="vendor")
    server = start(lends, own, credential_list=[LENT])
    assert server.chat(key=KEY).status_code == 200
    assert upstream.last.header("authorization") == "Bearer sk-lent-to-models-0123"
    assert server.chat("own", key=KEY).status_code == 200
    assert upstream.last.header("authorization") == "Bearer sk-its-own-key-0123", "a model's own value wins"
    assert "sk-lent" not in str(get(server, "/model/info"))


def test_credentials_are_lent_at_once(start, upstream):
    server = start()
    admin(server, "/credentials", LENT)
    params = {"model": "openai/x", "api_base": upstream.url + "/v1", "litellm_credential_name": "vendor"}
    admin(server, "/model/new", {"model_name": "lends", "litellm_params": params})
    assert server.chat("lends", key=KEY).status_code == 200
    assert upstream.last.header("authorization") == "Bearer sk-lent-to-models-0123"
    patch(server, "/credentials/vendor", {"credential_values": {"api_key": "sk-changed-0123456789"}})
    assert server.chat("lends", key=KEY).status_code == 200
    assert upstream.last.header("authorization") == "Bearer sk-changed-0123456789"


def test_supported_db_objects(start, upstream):
    server = start()
    params = {"model": "openai/x", "api_base": upstream.url + "/v1", "api_key": "sk-up"}
    admin(server, "/model/new", {"model_name": "stored", "litellm_params": params})
    assert server.chat("stored", key=KEY).status_code == 200
    assert server.terminate() == 0
    without = start(supported_db_objects=["credentials"])
    assert without.chat("stored", key=KEY).status_code == 400
    assert without.chat(key=KEY).status_code == 200


def test_store_audit_logs(start):
    server = start(litellm={"store_audit_logs": True})
    made = new_key(server, key_alias="watched")
    key = made["key"]
    answer = server.post("/key/update", {"key": key, "max_budget": 5}, key=KEY, headers={"litellm-changed-by": "ann"})
    assert answer.status_code == 200
    admin(server, "/key/block", {"key": key})
    admin(server, "/key/delete", {"keys": [key]})
    logs = get(server, "/audit", object_id=made["token"])["audit_logs"]
    assert [log["action"] for log in reversed(logs)] == ["created", "updated", "blocked", "deleted"]
    updated = logs[2]
    assert updated["changed_by"] == "ann" and updated["before_value"]["max_budget"] is None
    assert updated["updated_values"]["max_budget"] == 5 and updated["table_name"] == "LiteLLM_VerificationToken"
    assert key not in str(logs), "no key stands in the log of changes"


def test_store_audit_logs_is_off_by_default(start):
    server = start()
    made = new_key(server)
    assert get(server, "/audit", object_id=made["token"])["total"] == 0


def test_model_block(start, upstream):
    server = start()
    params = {"model": "openai/x", "api_base": upstream.url + "/v1", "api_key": "sk-up"}
    made = admin(server, "/model/new", {"model_name": "stored", "litellm_params": params})
    admin(server, "/model/block", {"model_id": made["model_id"]})
    assert server.chat("stored", key=KEY).status_code == 400
    admin(server, "/model/unblock", {"model_id": made["model_id"]})
    assert server.chat("stored", key=KEY).status_code == 200


def test_access_group_opens_models_for_keys(start, upstream):
    server = start()
    params = {"model": "openai/x", "api_base": upstream.url + "/v1", "api_key": "sk-up"}
    admin(server, "/model/new", {"model_name": "stored", "litellm_params": params})
    key = new_key(server, models=["beta"])["key"]
    assert server.chat("stored", key=key).status_code == 403
    admin(server, "/access_group/new", {"access_group": "beta", "model_names": ["stored"]})
    assert server.chat("stored", key=key).status_code == 200


def test_pass_through_endpoint_serves_at_once(start, upstream):
    server = start()
    admin(server, "/config/pass_through_endpoint", {"path": "/vendor", "target": upstream.url + "/over-there"})
    server.client.get("/vendor", headers={"authorization": f"Bearer {KEY}"})
    assert upstream.last.path == "/over-there"

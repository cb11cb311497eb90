"""`key_management_system` and its settings: `os.environ/NAME` is looked up in a secret manager first. The
managers are the test's own, on HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import secret_managers
from gateway import KEY, admin, config, entry, get

SECRETS = {"UPSTREAM_KEY": "sk-from-the-manager", "MASTER": KEY, "ALL": json.dumps({"UPSTREAM_KEY": "sk-from-one-secret", "MASTER": KEY})}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def say(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        manager = self.server.manager
        manager.asked.append((self.path, dict(self.headers)))
        if manager.down:
            return self.say(500, {})
        name = self.path.split("?")[0].rsplit("/", 1)[1].replace("-", "_")
        if name not in SECRETS:
            return self.say(404, {"errors": []})
        if self.path.startswith("/v1/"):
            return self.say(200, {"data": {"data": {"key": SECRETS[name]}}})
        return self.say(200, {"value": SECRETS[name]})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.manager.asked.append((self.path, dict(self.headers)))
        if self.path.endswith("/oauth2/v2.0/token"):
            assert "client_secret=shh" in body, body
            return self.say(200, {"access_token": "azure-token", "expires_in": 3600})
        name = json.loads(body)["SecretId"]
        if name not in SECRETS:
            return self.say(400, {"__type": "ResourceNotFoundException"})
        return self.say(200, {"SecretString": SECRETS[name]})


class Manager:
    def __init__(self):
        self.asked, self.down = [], False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.manager = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def headers(self):
        return [{name.lower(): value for name, value in headers.items()} for _, headers in self.asked]


@pytest.fixture
def manager():
    made = Manager()
    yield made
    made.server.shutdown()


@pytest.fixture
def start(gateway, upstream, manager):
    def made(env, **general):
        settings = {"master_key": "os.environ/MASTER", **general}
        return gateway(config(entry("m", upstream, api_key="os.environ/UPSTREAM_KEY"), general=settings), env=env)

    return made


def vault(manager):
    return {"HCP_VAULT_ADDR": manager.url, "HCP_VAULT_TOKEN": "vault-token"}


def used(upstream):
    return {name.lower(): value for name, value in upstream.last.headers}["authorization"]


def test_key_management_system_hashicorp_vault(start, manager, upstream):
    server = start({**vault(manager), "UPSTREAM_KEY": "sk-of-the-environment"}, key_management_system="hashicorp_vault")
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-from-the-manager"
    assert {path for path, _ in manager.asked} >= {"/v1/secret/data/UPSTREAM_KEY", "/v1/secret/data/MASTER"}
    assert all(headers["x-vault-token"] == "vault-token" for headers in manager.headers())
    # A reload asks again; a manager that is away changes nothing.
    manager.down = True
    assert server.post("/config/reload", {}, key=KEY).status_code >= 400
    assert server.chat(key=KEY).status_code == 200
    assert "sk-from-the-manager" not in server.log and "vault-token" not in server.log


def test_key_management_settings(start, manager, upstream):
    settings = {"hosted_keys": ["UPSTREAM_KEY"], "access_mode": "read_only"}
    server = start({**vault(manager), "MASTER": KEY}, key_management_system="hashicorp_vault", key_management_settings=settings)
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-from-the-manager"
    assert {path for path, _ in manager.asked} == {"/v1/secret/data/UPSTREAM_KEY"}, "only hosted keys are looked up"
    before = len(manager.asked)
    server = start({"MASTER": KEY, "UPSTREAM_KEY": "sk-of-the-environment"}, key_management_system="hashicorp_vault",
                   key_management_settings={"access_mode": "write_only", "vault_url": manager.url})
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-of-the-environment"
    assert len(manager.asked) == before


def test_key_management_settings_primary_secret_name(start, manager, upstream):
    server = start(vault(manager), key_management_system="hashicorp_vault", key_management_settings={"primary_secret_name": "ALL"})
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-from-one-secret"
    assert {path for path, _ in manager.asked} == {"/v1/secret/data/ALL"}


AWS = {"AWS_REGION_NAME": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "aws-secret"}


@pytest.mark.parametrize("general", [{"use_aws_secret_manager": True}, {"key_management_system": "aws_secret_manager"}])
def test_use_aws_secret_manager(start, manager, upstream, general):
    server = start({**AWS, "AWS_ENDPOINT_URL": manager.url}, **general)
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-from-the-manager"
    for headers in manager.headers():
        assert headers["x-amz-target"] == "secretsmanager.GetSecretValue"
        assert "Credential=AKIA/" in headers["authorization"] and "/eu-central-1/secretsmanager/aws4_request" in headers["authorization"]


@pytest.mark.parametrize("general", [
    {"use_azure_key_vault": True}, {"key_management_system": "azure_key_vault"}, {"key_management_system": "azure_kms"}])
def test_use_azure_key_vault(start, manager, upstream, general):
    env = {"AZURE_KEY_VAULT_URI": manager.url, "AZURE_AUTHORITY_HOST": manager.url, "AZURE_TENANT_ID": "tenant",
           "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "shh"}
    server = start(env, **general)
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-from-the-manager"
    assert "/secrets/UPSTREAM-KEY?api-version=7.4" in [path for path, _ in manager.asked], "names there have no underscores"


def test_key_management_system_that_cannot_be_asked_is_a_clear_error(start, manager):
    for env, general, why in (({}, {"key_management_system": "hashicorp_vault"}, "HCP_VAULT_ADDR"),
                              ({}, {"key_management_system": "aws_kms"}, "AWS_REGION_NAME"),
                              ({}, {"key_management_system": "infisical"}, "infisical is none of aws_kms"),
                              ({}, {"use_google_kms": True}, "GOOGLE_KMS_RESOURCE_NAME"),
                              ({}, {"key_management_system": "google_kms", "key_management_settings": {"project_id": "p"}},
                               "key_management_settings.location_id is needed"),
                              ({}, {"key_management_system": "google_secret_manager"}, "GOOGLE_SECRET_MANAGER_PROJECT_ID"),
                              ({"HCP_VAULT_ADDR": "http://127.0.0.1:1", "HCP_VAULT_TOKEN": "t"},
                               {"key_management_system": "hashicorp_vault"}, "cannot be reached")):
        with pytest.raises(Exception) as failed:
            start(env, **general)
        assert why in str(failed.value), failed.value


# Google's

@pytest.fixture
def google():
    made = secret_managers.Google()
    yield made
    made.stop()


@pytest.fixture
def kms():
    made = secret_managers.Kms()
    yield made
    made.stop()


@pytest.mark.parametrize("settings", [{}, {"project_id": "our-project"}])
def test_key_management_system_google_secret_manager(start, google, upstream, settings):
    google.secrets.update(UPSTREAM_KEY="sk-from-google", MASTER=KEY)
    env = {**google.env(), "UPSTREAM_KEY": "sk-of-the-environment"}
    if settings:
        env["GOOGLE_SECRET_MANAGER_PROJECT_ID"] = "another"
    server = start(env, key_management_system="google_secret_manager", key_management_settings=settings)
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-from-google"
    paths = {path for _, path, *_ in google.asked}
    assert "/v1/projects/our-project/secrets/UPSTREAM_KEY/versions/latest:access" in paths
    # A reload reads the newest version; one without a secret there goes on with the environment's.
    google.secrets["UPSTREAM_KEY"] = "sk-newer"
    admin(server, "/config/reload", {})
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-newer"
    del google.secrets["UPSTREAM_KEY"]
    admin(server, "/config/reload", {})
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-of-the-environment"
    for secret in ("google-token", "sk-from-google", "sk-newer", "shh"):
        assert secret not in server.log


PARTS = {"project_id": "p", "location_id": "europe-west4", "key_ring_id": "ring", "key_id": "ours"}
NAMED = {"GOOGLE_KMS_RESOURCE_NAME": secret_managers.Kms.NAME}


@pytest.mark.parametrize("general", [
    {"use_google_kms": True}, {"key_management_system": "google_kms"},
    {"key_management_system": "google_kms", "key_management_settings": [PARTS]}])
def test_use_google_kms(start, kms, upstream, general):
    env = {**kms.env(), **({} if "key_management_settings" in general else NAMED)}
    # The environment has ciphertexts, and beside them what is plain.
    server = start({**env, "UPSTREAM_KEY": kms.seal("sk-sealed"), "MASTER": KEY}, **general)
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-sealed"
    assert "sk-sealed" not in server.log and "google-token" not in server.log
    asked = [path for _, path, *_ in kms.asked]
    assert asked == ["/token", f"/v1/{kms.NAME}:decrypt"], "what is plain is nobody's business"


@pytest.mark.parametrize("part", PARTS)
def test_key_management_settings_project_id_location_id_key_ring_id_key_id(start, kms, part):
    """The key is the one that all four name together."""
    env = {**kms.env(), "UPSTREAM_KEY": kms.seal("sk-sealed"), "MASTER": KEY}
    with pytest.raises(AssertionError, match="UPSTREAM_KEY is no ciphertext of this key"):
        start(env, key_management_system="google_kms", key_management_settings=[{**PARTS, part: "another"}])


def test_use_google_kms_hosted_keys(start, kms, upstream):
    odd = kms.seal("never opened")
    env = {**kms.env(), **NAMED, "MASTER": KEY, "UPSTREAM_KEY": odd}
    server = start(env, use_google_kms=True, key_management_settings=[{"hosted_keys": ["SOMETHING_ELSE"]}])
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == f"Bearer {odd}"
    assert kms.asked == []


def test_use_google_kms_encrypts_what_is_stored(gateway, upstream, kms, store):
    """`LITELLM_SALT_KEY` is opened by the KMS; with the key that it opens, and no other, stored models are read."""
    general = {"master_key": KEY, "store_model_in_db": True, "use_google_kms": True, **store}
    env = {**kms.env(), **NAMED, "LITELLM_SALT_KEY": kms.seal("the-salt")}
    params = {"model": "openai/x", "api_base": upstream.url + "/v1", "api_key": "sk-stored"}
    server = gateway(config(general=general), env=env)
    made = admin(server, "/model/new", {"model_name": "kept", "litellm_params": params})
    assert server.chat("kept", key=KEY).status_code == 200 and used(upstream) == "Bearer sk-stored"
    assert server.terminate() == 0
    # The plain key opens it too: the KMS has opened this one.
    plain = {key: value for key, value in general.items() if key != "use_google_kms"}
    server = gateway(config(general=plain), env={"LITELLM_SALT_KEY": "the-salt"})
    assert server.chat("kept", key=KEY).status_code == 200 and used(upstream) == "Bearer sk-stored"
    assert server.terminate() == 0
    server = gateway(config(general=plain), env={"LITELLM_SALT_KEY": env["LITELLM_SALT_KEY"]})
    assert server.chat("kept", key=KEY).status_code != 200
    assert "the-salt" not in server.log and server.terminate() == 0
    server = gateway(config(general=general), env=env)
    assert "kept" in [model["id"] for model in get(server, "/v1/models")["data"]]
    admin(server, "/model/delete", {"id": made["model_id"]})


def test_store_virtual_keys_needs_a_manager_that_keeps_secrets(start, kms):
    with pytest.raises(AssertionError, match="google_kms keeps no secrets"):
        start({**kms.env(), **NAMED, "MASTER": KEY, "UPSTREAM_KEY": "sk"}, use_google_kms=True,
              key_management_settings=[{"store_virtual_keys": True}])


# AWS's KMS

@pytest.fixture
def aws_kms():
    made = secret_managers.AwsKms()
    yield made
    made.stop()


@pytest.mark.parametrize("settings", [{}, {"key_id": "alias/ours"}])
def test_key_management_system_aws_kms(start, aws_kms, upstream, settings):
    env = {**aws_kms.env(), "MASTER": KEY, "UPSTREAM_KEY": aws_kms.seal("sk-sealed")}
    server = start(env, key_management_system="aws_kms", key_management_settings=settings)
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-sealed"
    ((*_, headers, body),) = aws_kms.asked
    assert headers["x-amz-target"] == "TrentService.Decrypt" and "/eu-central-1/kms/aws4_request" in headers["authorization"]
    assert json.loads(body).get("KeyId") == settings.get("key_id") and "sk-sealed" not in server.log


def test_key_management_system_aws_kms_of_another_key(start, aws_kms):
    env = {**aws_kms.env(), "MASTER": KEY, "UPSTREAM_KEY": aws_kms.seal("sk-sealed")}
    with pytest.raises(AssertionError, match="UPSTREAM_KEY is no ciphertext of this key"):
        start(env, key_management_system="aws_kms", key_management_settings={"key_id": "alias/another"})


def test_key_management_system_local(start, upstream):
    server = start({"MASTER": KEY, "UPSTREAM_KEY": "sk-of-the-environment"}, key_management_system="local")
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-of-the-environment"

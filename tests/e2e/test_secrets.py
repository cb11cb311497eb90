"""`key_management_system` and its settings: `os.environ/NAME` is looked up in a secret manager first. The
managers are the test's own, on HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway import KEY, config, entry

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


@pytest.mark.parametrize("general", [{"use_azure_key_vault": True}, {"key_management_system": "azure_key_vault"}])
def test_use_azure_key_vault(start, manager, upstream, general):
    env = {"AZURE_KEY_VAULT_URI": manager.url, "AZURE_AUTHORITY_HOST": manager.url, "AZURE_TENANT_ID": "tenant",
           "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "shh"}
    server = start(env, **general)
    assert server.chat(key=KEY).status_code == 200 and used(upstream) == "Bearer sk-from-the-manager"
    assert "/secrets/UPSTREAM-KEY?api-version=7.4" in [path for path, _ in manager.asked], "names there have no underscores"


def test_key_management_system_that_cannot_be_asked_is_a_clear_error(start, manager):
    for env, general, why in (({}, {"key_management_system": "hashicorp_vault"}, "HCP_VAULT_ADDR"),
                              ({}, {"key_management_system": "google_kms"}, "google_kms is not built"),
                              ({"HCP_VAULT_ADDR": "http://127.0.0.1:1", "HCP_VAULT_TOKEN": "t"},
                               {"key_management_system": "hashicorp_vault"}, "cannot be reached")):
        with pytest.raises(Exception) as failed:
            start(env, **general)
        assert why in str(failed.value), failed.value

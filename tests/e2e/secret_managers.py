"""Secret managers on HTTP that keep what they are given: HashiCorp Vault (KV 2), AWS Secrets Manager and Azure
Key Vault, as their documentation says. Deleted secrets keep their names where they do there."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def say(self, status, body=None):
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def handle_any(self):
        manager = self.server.manager
        text = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        path, _, query = self.path.partition("?")
        manager.asked.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, text))
        if manager.down:
            return self.say(500, {})
        body = json.loads(text) if text.startswith("{") else {}
        return self.say(*manager.answer(self.command, unquote(path), query, dict(self.headers.items()), body))

    do_GET = do_POST = do_PUT = do_DELETE = handle_any


class Manager:
    """`secrets` by name; `gone` are deleted and still there."""

    def __init__(self):
        self.secrets, self.gone, self.asked, self.down = {}, {}, [], False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.manager = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()

    def name(self, name):
        """The name that a manager makes of a name."""
        return name


class Vault(Manager):
    system = "hashicorp_vault"

    def env(self):
        return {"HCP_VAULT_ADDR": self.url, "HCP_VAULT_TOKEN": "vault-token"}

    def answer(self, method, path, _, headers, body):
        if headers.get("x-vault-token") != "vault-token":
            return 403, {"errors": ["permission denied"]}
        name = path.removeprefix("/v1/secret/data/")
        if method == "POST":
            self.secrets[name] = body["data"]["key"]
            return 200, {"data": {"version": 1}}
        if name not in self.secrets:
            return 404, {"errors": []}
        if method == "DELETE":
            self.gone[name] = self.secrets.pop(name)
            return 204, None
        return 200, {"data": {"data": {"key": self.secrets[name]}}}


class Aws(Manager):
    system = "aws_secret_manager"

    def env(self):
        return {"AWS_REGION_NAME": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "aws-secret",
                "AWS_ENDPOINT_URL": self.url}

    def answer(self, _, __, ___, headers, body):
        if "Credential=AKIA/" not in headers.get("authorization", ""):
            return 400, {"__type": "UnrecognizedClientException"}
        action = headers["x-amz-target"].removeprefix("secretsmanager.")
        name = body.get("SecretId") or body["Name"]
        if action in ("CreateSecret", "PutSecretValue") and len(body.get("ClientRequestToken", "")) < 32:
            return 400, {"__type": "InvalidParameterException"}
        if action == "CreateSecret":
            if name in self.gone:
                return 400, {"__type": "InvalidRequestException"}
            if name in self.secrets:
                return 400, {"__type": "com.amazonaws.secretsmanager#ResourceExistsException"}
            self.secrets[name] = body["SecretString"]
        elif action == "RestoreSecret":
            if name in self.gone:
                self.secrets[name] = self.gone.pop(name)
        elif name not in self.secrets:
            return 400, {"__type": "ResourceNotFoundException"}
        elif action == "PutSecretValue":
            self.secrets[name] = body["SecretString"]
        elif action == "DeleteSecret":
            assert body["RecoveryWindowInDays"] == 7
            self.gone[name] = self.secrets.pop(name)
        return 200, {"Name": name, "SecretString": self.secrets.get(name)}


class Azure(Manager):
    system = "azure_key_vault"
    recovering = 0

    def env(self):
        return {"AZURE_KEY_VAULT_URI": self.url, "AZURE_AUTHORITY_HOST": self.url, "AZURE_TENANT_ID": "tenant",
                "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "shh"}

    def name(self, name):
        return "".join(letter if letter.isalnum() else "-" for letter in name)

    def answer(self, method, path, query, headers, body):
        if path.endswith("/oauth2/v2.0/token"):
            return 200, {"access_token": "azure-token", "expires_in": 3600}
        if headers.get("authorization") != "Bearer azure-token" or query != "api-version=7.4":
            return 401, {}
        kind, name, *verb = path.strip("/").split("/")
        if verb == ["recover"]:
            self.recovering = 2
            return 200, {}
        if method == "PUT":
            if name in self.gone:
                # Recovery takes its time.
                self.recovering -= 1
                if self.recovering != 0:
                    return 409, {"error": {"code": "Conflict"}}
                del self.gone[name]
            self.secrets[name] = body["value"]
        if name not in self.secrets:
            return 404, {"error": {"code": "SecretNotFound"}}
        if method == "DELETE":
            self.gone[name] = self.secrets.pop(name)
            return 200, {}
        return 200, {"value": self.secrets[name]}


ALL = [Vault, Aws, Azure]

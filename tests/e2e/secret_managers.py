"""Secret managers on HTTP that keep what they are given: HashiCorp Vault (KV 2), AWS Secrets Manager, Azure Key
Vault and Google's Secret Manager, as their documentation says; and Google's and AWS's KMS, which open what they
sealed.
Deleted secrets keep their names where they do there."""

import base64
import json
import tempfile
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


class OfGoogle(Manager):
    """What Google's two services share: a person's account, whose file says where tokens are."""

    def env(self):
        account = {"type": "authorized_user", "client_id": "id", "client_secret": "shh", "refresh_token": "rt",
                   "token_uri": self.url + "/token"}
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            json.dump(account, file)
        return {"GOOGLE_APPLICATION_CREDENTIALS": file.name, self.override: self.url}

    def answer(self, method, path, query, headers, body):
        if path == "/token":
            return 200, {"access_token": "google-token", "expires_in": 3600}
        if headers.get("authorization") != "Bearer google-token":
            return 403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}
        return self.serve(method, path, query, body)


class Google(OfGoogle):
    system = "google_secret_manager"
    override = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"

    def env(self):
        return {**super().env(), "GOOGLE_SECRET_MANAGER_PROJECT_ID": "our-project"}

    def name(self, name):
        return "".join(letter if letter.isalnum() or letter == "_" else "-" for letter in name)

    def serve(self, method, path, query, body):
        folder = "/v1/projects/our-project/secrets"
        if not path.startswith(folder):
            return 403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}
        if path == folder:
            name = query.removeprefix("secretId=")
            if name in self.secrets:
                return 409, {"error": {"code": 409, "status": "ALREADY_EXISTS"}}
            assert method == "POST" and body == {"replication": {"automatic": {}}}
            self.secrets[name] = None
            return 200, {"name": f"projects/our-project/secrets/{name}"}
        name, _, verb = path.removeprefix(folder + "/").partition("/" if path.endswith(":access") else ":")
        if name not in self.secrets:
            return 404, {"error": {"code": 404, "status": "NOT_FOUND"}}
        if method == "DELETE":
            del self.secrets[name]
            return 200, {}
        if verb == "addVersion":
            self.secrets[name] = base64.b64decode(body["payload"]["data"], validate=True).decode()
            return 200, {}
        assert verb == "versions/latest:access", path
        return 200, {"payload": {"data": base64.b64encode(self.secrets[name].encode()).decode()}}


class Kms(OfGoogle):
    system = "google_kms"
    override = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS"
    NAME = "projects/p/locations/europe-west4/keyRings/ring/cryptoKeys/ours"

    def seal(self, text, name=NAME):
        """A ciphertext, as `gcloud kms encrypt` and base64 make it."""
        sealed = base64.b64encode(b"\n$\0" + name.encode() + bytes(byte ^ 0x5A for byte in text.encode())).decode()
        self.secrets[sealed] = (name, text)
        return sealed

    def serve(self, method, path, _, body):
        name, text = self.secrets.get(body["ciphertext"], ("", ""))
        if method != "POST" or path != f"/v1/{name}:decrypt":
            return 400, {"error": {"code": 400, "status": "INVALID_ARGUMENT"}}
        return 200, {"plaintext": base64.b64encode(text.encode()).decode()}


class AwsKms(Manager):
    def env(self):
        return {"AWS_REGION_NAME": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "aws-secret",
                "AWS_ENDPOINT_URL_KMS": self.url}

    def seal(self, text):
        """A ciphertext of the key `alias/ours`."""
        sealed = base64.b64encode(b"\1\2\2\0" + bytes(byte ^ 0x5A for byte in text.encode()) + b"." * 60).decode()
        self.secrets[sealed] = text
        return sealed

    def answer(self, _, __, ___, headers, body):
        if "Credential=AKIA/" not in headers.get("authorization", ""):
            return 400, {"__type": "UnrecognizedClientException"}
        if body.get("KeyId", "alias/ours") != "alias/ours":
            return 400, {"__type": "IncorrectKeyException"}
        if body["CiphertextBlob"] not in self.secrets:
            return 400, {"__type": "InvalidCiphertextException"}
        return 200, {"Plaintext": base64.b64encode(self.secrets[body["CiphertextBlob"]].encode()).decode()}


ALL = [Vault, Aws, Azure, Google]

"""Credentials that are fetched: each parameter of model_list[].litellm_params that names one, and the variables of the
vendors' own clients. The token services are mocks; what reaches the provider is looked at."""

import json
import threading
import time
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import canned
from gateway import config
from mock import Answer, Call
from golden_replay import signature_differences

WELL = Answer(body=canned.chat())
CONVERSE = Answer(body={"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}}, "stopReason": "end_turn",
                        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}})
GEMINI = Answer(body={"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
                      "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}})
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def token(word="fetched", life=3600, **more):
    return Answer(body={"access_token": word, "token_type": "Bearer", "expires_in": life, **more})


def deployment(name="m", **params):
    return {"model_name": name, "litellm_params": params}


def azure(upstream, **params):
    return deployment(model="azure/d", api_base=upstream.url, api_version="v1", **params)


PRINCIPAL = {"tenant_id": "tenant", "client_id": "client", "client_secret": "a-secret-word"}


def form(request):
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True))


def asked(mocked, path):
    return [request for request in mocked.requests if request.path == path]


# Azure

def test_tenant_id_client_id_client_secret(gateway, upstream):
    upstream.answer(WELL)
    upstream.route("/tenant/oauth2/v2.0/token", token())
    server = gateway(config(azure(upstream, **PRINCIPAL)), env={"AZURE_AUTHORITY_HOST": upstream.url})
    assert [server.chat().status_code for _ in range(3)] == [200] * 3
    (fetch,) = asked(upstream, "/tenant/oauth2/v2.0/token")
    assert form(fetch) == {"client_id": "client", "client_secret": "a-secret-word", "grant_type": "client_credentials",
                           "scope": "https://cognitiveservices.azure.com/.default"}
    calls = asked(upstream, "/openai/deployments/d/chat/completions")
    assert {call.header("authorization") for call in calls} == {"Bearer fetched"}


def test_one_fetch_for_calls_that_wait_together(gateway, upstream):
    upstream.answer(WELL)
    upstream.route("/tenant/oauth2/v2.0/token", Answer(body={"access_token": "t", "expires_in": 3600}, delay_s=0.5))
    server = gateway(config(azure(upstream, **PRINCIPAL)), "--num_workers", 2, env={"AZURE_AUTHORITY_HOST": upstream.url})
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(server.chat().status_code)) for _ in range(20)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert statuses == [200] * 20
    assert len(asked(upstream, "/tenant/oauth2/v2.0/token")) == 1


def test_a_token_is_renewed_before_it_expires(gateway, upstream):
    upstream.answer(WELL)
    words = iter(range(1, 100))
    again = Call(lambda connection, request: token(f"t{next(words)}", life=5).play(connection, request))
    upstream.route("/tenant/oauth2/v2.0/token", again)
    server = gateway(config(azure(upstream, **PRINCIPAL)), env={"AZURE_AUTHORITY_HOST": upstream.url})
    assert server.chat().status_code == 200
    assert server.chat().status_code == 200
    upstream.wait(4, timeout_s=8)  # Two calls, the first fetch, and a renewal that no call asked for.
    assert len(asked(upstream, "/tenant/oauth2/v2.0/token")) == 2
    until = time.monotonic() + 1  # The fetch was seen as it arrived: its answer may still be on the way to the shards.
    used = None
    while used != "Bearer t2" and time.monotonic() < until:
        assert server.chat().status_code == 200
        used = upstream.last.header("authorization")
    assert used == "Bearer t2"
    assert len(asked(upstream, "/tenant/oauth2/v2.0/token")) == 2


def test_a_refused_token_says_what_to_change_and_no_secret(gateway, upstream):
    upstream.answer(WELL)
    refusal = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
    upstream.route("/tenant/oauth2/v2.0/token", Answer(401, refusal))
    server = gateway(config(azure(upstream, **PRINCIPAL)), env={"AZURE_AUTHORITY_HOST": upstream.url})
    answer = server.chat()
    assert answer.status_code == 401, answer.text
    message = answer.json()["error"]["message"]
    assert "AADSTS7000215" in message and "client_secret" in message
    assert "a-secret-word" not in answer.text + server.log
    assert not asked(upstream, "/openai/deployments/d/chat/completions")


def test_a_token_service_that_is_away_is_asked_again(gateway, upstream):
    upstream.answer(WELL)
    upstream.route("/tenant/oauth2/v2.0/token", Answer(503, "busy"), token())
    server = gateway(config(azure(upstream, **PRINCIPAL)), env={"AZURE_AUTHORITY_HOST": upstream.url})
    assert server.chat().status_code == 503
    statuses = []
    until = time.monotonic() + 10
    while 200 not in statuses and time.monotonic() < until:
        statuses.append(server.chat().status_code)
        time.sleep(0.05)
    assert set(statuses) <= {200, 503} and statuses[-1] == 200
    assert len(asked(upstream, "/tenant/oauth2/v2.0/token")) == 2


@pytest.mark.parametrize("kind", ["instance", "app service", "federated"])
def test_azure_managed_identity(gateway, upstream, tmp_path, kind):
    upstream.answer(WELL)
    for path in ["/metadata/identity/oauth2/token", "/msi", "/tenant/oauth2/v2.0/token"]:
        upstream.route(path, token(expires_in="3600"))
    (tmp_path / "federated").write_text("proof\n")
    env = {
        "instance": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": upstream.url},
        "app service": {"IDENTITY_ENDPOINT": upstream.url + "/msi", "IDENTITY_HEADER": "word"},
        "federated": {"AZURE_AUTHORITY_HOST": upstream.url, "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client",
                      "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "federated")},
    }[kind]
    server = gateway(config(azure(upstream)), env=env)
    assert server.chat().status_code == 200
    assert upstream.last.header("authorization") == "Bearer fetched"
    fetch = upstream.requests[0]
    if kind == "instance":
        assert fetch.header("metadata") == "true" and fetch.query["resource"] == "https://cognitiveservices.azure.com"
    elif kind == "app service":
        assert fetch.header("x-identity-header") == "word" and fetch.query["api-version"] == "2019-08-01"
    else:
        assert form(fetch)["client_assertion"] == "proof"


# Google

def service_account(upstream):
    return {"type": "service_account", "project_id": "p", "private_key_id": "kid", "private_key": PEM,
            "client_email": "a@p.iam", "token_uri": upstream.url + "/token"}


def vertex(upstream, **params):
    return deployment(model="vertex_ai/gemini-2.5-flash", api_base=upstream.url, vertex_project="p",
                      vertex_location="europe-west4", **params)


@pytest.mark.parametrize("how", ["map", "text", "path", "variable"])
def test_vertex_credentials(gateway, upstream, tmp_path, how):
    upstream.answer(GEMINI)
    upstream.route("/token", token())
    account = service_account(upstream)
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account))
    params = {"map": account, "text": json.dumps(account), "path": str(path)}
    env = {"GOOGLE_APPLICATION_CREDENTIALS": str(path)} if how == "variable" else {}
    given = {} if how == "variable" else {"vertex_credentials": params[how]}
    server = gateway(config(vertex(upstream, **given)), env=env)
    assert server.chat().status_code == 200, server.log
    assert upstream.last.header("authorization") == "Bearer fetched"
    assert upstream.last.path == "/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent"
    assertion = form(asked(upstream, "/token")[0])["assertion"]
    claims = verified(assertion)
    assert claims["iss"] == "a@p.iam" and claims["aud"] == upstream.url + "/token"
    assert claims["exp"] - claims["iat"] == 3600


def verified(assertion):
    """The claims of a JWT that our key signed."""
    import base64
    part = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    head, body, signature = assertion.split(".")
    KEY.public_key().verify(part(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(part(head)) == {"alg": "RS256", "typ": "JWT", "kid": "kid"}
    return json.loads(part(body))


def test_vertex_authorized_user(gateway, upstream):
    upstream.answer(GEMINI)
    upstream.route("/token", token())
    person = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r",
              "token_uri": upstream.url + "/token"}
    server = gateway(config(vertex(upstream, vertex_credentials=person)))
    assert server.chat().status_code == 200
    assert form(upstream.requests[0]) == {"grant_type": "refresh_token", "client_id": "i", "client_secret": "s", "refresh_token": "r"}


@pytest.mark.parametrize("kind", ["file", "url", "aws"])
def test_vertex_workload_identity(gateway, upstream, tmp_path, kind):
    upstream.answer(GEMINI)
    upstream.route("/exchange", token("first"))
    upstream.route("/impersonate", Answer(body={"accessToken": "second", "expireTime": "2099-01-01T00:00:00Z"}))
    upstream.route("/subject", Answer(body={"id_token": "elsewhere"}))
    (tmp_path / "subject").write_text("elsewhere\n")
    source = {
        "file": {"file": str(tmp_path / "subject")},
        "url": {"url": upstream.url + "/subject", "headers": {"Metadata": "True"},
                "format": {"type": "json", "subject_token_field_name": "id_token"}},
        "aws": {"environment_id": "aws1"},
    }[kind]
    account = {"type": "external_account", "audience": "//iam/pool", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
               "token_url": upstream.url + "/exchange", "service_account_impersonation_url": upstream.url + "/impersonate",
               "credential_source": source}
    env = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"} if kind == "aws" else {}
    server = gateway(config(vertex(upstream, vertex_credentials=account)), env=env)
    assert server.chat().status_code == 200, server.log
    exchanged = form(asked(upstream, "/exchange")[0])
    assert exchanged["audience"] == "//iam/pool"
    assert asked(upstream, "/impersonate")[0].header("authorization") == "Bearer first"
    assert upstream.last.header("authorization") == "Bearer second"
    if kind != "aws":
        assert exchanged["subject_token"] == "elsewhere"
        return
    from urllib.parse import unquote
    question = json.loads(unquote(exchanged["subject_token"]))
    names = {header["key"]: header["value"] for header in question["headers"]}
    assert question["url"].startswith("https://sts.us-east-1.amazonaws.com") and question["method"] == "POST"
    assert names["x-goog-cloud-target-resource"] == "//iam/pool" and "Credential=AKIA/" in names["authorization"]


def test_vertex_metadata_server(gateway, upstream):
    upstream.answer(GEMINI)
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    upstream.route(path, token())
    server = gateway(config(vertex(upstream)), env={"GCE_METADATA_HOST": upstream.host, "HOME": "/nonexistent"})
    assert server.chat().status_code == 200
    assert asked(upstream, path)[0].header("metadata-flavor") == "Google"
    assert upstream.last.header("authorization") == "Bearer fetched"


# IBM

def test_project_id_and_the_key_of_watsonx(gateway, upstream):
    upstream.answer(WELL)
    upstream.route("/identity/token", token())
    server = gateway(config(deployment(model="watsonx/ibm/granite", api_base=upstream.url, api_key="ibm-key", project_id="proj")),
                     env={"WATSONX_IAM_URL": upstream.url + "/identity/token"})
    assert server.chat().status_code == 200
    assert form(upstream.requests[0]) == {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": "ibm-key"}
    assert upstream.last.header("authorization") == "Bearer fetched"
    assert upstream.last.json["project_id"] == "proj"


# AWS

def bedrock(upstream, **params):
    return deployment(model="bedrock/anthropic.claude-3-haiku-20240307-v1:0", aws_region_name="eu-central-1",
                      aws_bedrock_runtime_endpoint=upstream.url, **params)


STS = ("<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>role-secret"
       "</SecretAccessKey><SessionToken>role-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
       "</AssumeRoleResult></AssumeRoleResponse>")
ROLE_KEYS = {"Code": "Success", "AccessKeyId": "ASIAROLE", "SecretAccessKey": "role-secret", "Token": "role-token",
             "Expiration": "2099-01-01T00:00:00Z"}


def check_signed(request, key, secret, token_word=None, service="bedrock"):
    assert f"Credential={key}/" in request.header("authorization")
    assert f"/eu-central-1/{service}/aws4_request" in request.header("authorization")
    assert request.header("x-amz-security-token") == token_word
    assert signature_differences(request, secret) == []


@pytest.mark.parametrize("word", [None, "session-word"])
def test_aws_access_key_id_and_session_token(gateway, upstream, word):
    upstream.answer(CONVERSE)
    more = {"aws_session_token": word} if word else {}
    server = gateway(config(bedrock(upstream, aws_access_key_id="AKIA", aws_secret_access_key="own-secret", **more)))
    assert server.chat().status_code == 200
    check_signed(upstream.only, "AKIA", "own-secret", word)


def test_aws_role_name_and_session_name(gateway, upstream, upstreams):
    sts = upstreams()
    upstream.answer(CONVERSE)
    sts.answer(Answer(body=STS, headers={"content-type": "text/xml"}))
    role = "arn:aws:iam::123456789012:role/llm"
    server = gateway(config(bedrock(upstream, aws_access_key_id="AKIA", aws_secret_access_key="own-secret", aws_role_name=role,
                                    aws_session_name="the-session", aws_external_id="ext")),
                     env={"AWS_ENDPOINT_URL_STS": sts.url})
    assert server.chat().status_code == 200, server.log
    assert form(sts.only) == {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": role, "RoleSessionName": "the-session",
                              "ExternalId": "ext"}
    check_signed(sts.only, "AKIA", "own-secret", service="sts")
    check_signed(upstream.only, "ASIAROLE", "role-secret", "role-token")


@pytest.mark.parametrize("how", ["text", "file", "oidc/file", "pod"])
def test_aws_web_identity_token(gateway, upstream, upstreams, tmp_path, how):
    sts = upstreams()
    upstream.answer(CONVERSE)
    sts.answer(Answer(body=STS, headers={"content-type": "text/xml"}))
    path = tmp_path / "word"
    path.write_text("the.web.identity\n")
    role = "arn:aws:iam::123456789012:role/llm"
    env = {"AWS_ENDPOINT_URL_STS": sts.url}
    params = {"aws_role_name": role, "aws_session_name": "s"}
    if how == "pod":
        params = {}
        env |= {"AWS_WEB_IDENTITY_TOKEN_FILE": str(path), "AWS_ROLE_ARN": role, "AWS_ROLE_SESSION_NAME": "s"}
    else:
        params["aws_web_identity_token"] = {"text": "the.web.identity", "file": str(path), "oidc/file": f"oidc/file/{path}"}[how]
    server = gateway(config(bedrock(upstream, **params)), env=env)
    assert server.chat().status_code == 200, server.log
    assert form(sts.only) == {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": role,
                              "RoleSessionName": "s", "WebIdentityToken": "the.web.identity"}
    check_signed(upstream.only, "ASIAROLE", "role-secret", "role-token")


def test_aws_profile_name(gateway, upstream, upstreams, tmp_path):
    sts = upstreams()
    upstream.answer(CONVERSE)
    sts.answer(Answer(body=STS, headers={"content-type": "text/xml"}))
    credentials, configuration = tmp_path / "credentials", tmp_path / "config"
    credentials.write_text("[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = base-secret\n")
    configuration.write_text("[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = base\n")
    env = {"AWS_SHARED_CREDENTIALS_FILE": str(credentials), "AWS_CONFIG_FILE": str(configuration), "AWS_ENDPOINT_URL_STS": sts.url}
    plain, role, none = (bedrock(upstream, aws_profile_name=name) for name in ("base", "role", "nobody"))
    for name, one in zip("prn", (plain, role, none)):
        one["model_name"] = name
    server = gateway(config(plain, role, none), env=env)
    assert server.chat("p").status_code == 200, server.log
    check_signed(upstream.last, "AKIABASE", "base-secret")
    assert server.chat("r").status_code == 200, server.log
    check_signed(sts.only, "AKIABASE", "base-secret", service="sts")
    check_signed(upstream.last, "ASIAROLE", "role-secret", "role-token")
    answer = server.chat("n")
    assert answer.status_code == 401 and "nobody" in answer.text and "aws_profile_name" in answer.text


def test_aws_instance_and_container(gateway, upstream, upstreams):
    machine = upstreams()
    upstream.answer(CONVERSE)
    folder = "/latest/meta-data/iam/security-credentials/"
    machine.route("/latest/api/token", Answer(body="imds-word"))
    machine.route(folder, Answer(body="the-role\n"))
    machine.route(folder + "the-role", Answer(body=ROLE_KEYS))
    server = gateway(config(bedrock(upstream)), env={"AWS_EC2_METADATA_SERVICE_ENDPOINT": machine.url, "HOME": "/nonexistent"})
    assert server.chat().status_code == 200, server.log
    assert [(r.method, r.header("x-amz-aws-ec2-metadata-token") or r.header("x-aws-ec2-metadata-token")) for r in machine.requests] == [
        ("PUT", None), ("GET", "imds-word"), ("GET", "imds-word")]
    check_signed(upstream.last, "ASIAROLE", "role-secret", "role-token")
    machine.reset()
    machine.route("/v1/credentials", Answer(body=ROLE_KEYS))
    env = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": machine.url + "/v1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "agent-word",
           "HOME": "/nonexistent"}
    server = gateway(config(bedrock(upstream)), env=env)
    assert server.chat().status_code == 200, server.log
    assert machine.only.header("authorization") == "agent-word"

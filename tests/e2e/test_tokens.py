"""Tokens of others than us: JWTs by `litellm_jwtauth`, OAuth2 tokens, and identities that a trusted
proxy names. The identity provider is the test's own; each test is named after its parameter."""

import time

import pytest

from gateway import KEY, admin, config, entry, eventually, get, says
from idp import ALL, Idp, hs

SECRET = "a secret that both sides share"


@pytest.fixture(scope="module")
def idp():
    made = Idp(SECRET)
    yield made
    made.stop()


@pytest.fixture
def start(store, gateway, upstream):
    """start({litellm_jwtauth}, **general): a gateway on this store."""
    general = {"master_key": KEY, **store}

    def made(jwt=None, env=None, **more):
        settings = {**general, **more}
        if jwt is not None:
            settings |= {"enable_jwt_auth": True, "litellm_jwtauth": jwt}
        return gateway(config(entry("m", upstream), entry("other", upstream), general=settings), env=env or {})

    return made


def team(server, **fields):
    """A team of a name of its own: the database outlives the gateway."""
    return admin(server, "/team/new", fields)["team_id"]


def test_enable_jwt_auth_and_litellm_jwtauth_secret(start, idp):
    server = start({"secret": SECRET, "algorithms": ["HS256"]})
    assert server.chat(key=idp.token("HS256", sub="u")).status_code == 200
    assert server.chat(key=KEY).status_code == 200
    says(server.chat(key=hs({"sub": "u"}, "another secret")), 401, "signature is wrong")
    says(server.chat(key=idp.token("HS512", sub="u")), 401, "alg=HS512 is not allowed")
    head, claims, _ = idp.token("HS256", sub="u").split(".")
    none = hs({}, SECRET, "HS256").split(".")[0]
    assert server.chat(key=f"{none}.{claims}.").status_code == 401
    from idp import b64
    says(server.chat(key=f"{b64({'alg': 'none'})}.{claims}."), 401, "alg=none is not allowed")
    says(server.chat(key="no.token.atall"), 401, "sk-")
    # Virtual keys stay as they are.
    key = admin(server, "/key/generate", {})["key"]
    assert server.chat(key=key).status_code == 200


@pytest.mark.parametrize("alg", ALL)
def test_algorithms(start, idp, alg):
    how = {"secret": SECRET} if alg.startswith("HS") else {"public_key_url": idp.url + "/keys"}
    server = start({**how, "algorithms": [alg]})
    assert server.chat(key=idp.token(alg, sub="u")).status_code == 200
    if not alg.startswith("HS"):
        server = start({"secret": idp.pem(alg), "algorithms": [alg]})
        assert server.chat(key=idp.token(alg, sub="u")).status_code == 200


def test_public_key_url_and_ttl(start, idp):
    server = start({"public_key_url": [idp.url + "/.well-known/openid-configuration"], "public_key_ttl": 1})
    old = idp.token(sub="u")
    assert server.chat(key=old).status_code == 200
    hits = idp.hits
    time.sleep(2.5)
    assert idp.hits > hits, "renewed without being asked for"
    idp.renew()
    # A key that is not known yet is fetched at once.
    eventually(lambda: server.chat(key=idp.token(sub="u", jti=str(time.monotonic()))).status_code == 200, 7)
    says(server.chat(key=idp.token(kid="nobody's", sub="u")), 401, "no key has kid=nobody's")
    # An identity provider that is away locks nobody out.
    idp.down = True
    try:
        time.sleep(1.5)
        assert server.chat(key=idp.token(sub="u", jti="2")).status_code == 200
    finally:
        idp.down = False


def test_public_key_url_env(start, idp):
    server = start({}, env={"JWT_PUBLIC_KEY_URL": idp.url + "/keys", "JWT_AUDIENCE": "us"})
    assert server.chat(key=idp.token(sub="u", aud="us")).status_code == 200
    says(server.chat(key=idp.token(sub="u", aud="them")), 401, "aud")


def test_issuer(start, idp):
    server = start({"secret": SECRET, "issuer": "https://idp.example"})
    assert server.chat(key=idp.token("HS256", iss="https://idp.example")).status_code == 200
    says(server.chat(key=idp.token("HS256", iss="https://evil.example")), 401, "iss is https://evil.example")
    says(server.chat(key=idp.token("HS256")), 401, "iss is missing")


def test_audience(start, idp):
    server = start({"secret": SECRET, "audience": ["a", "b"]})
    assert server.chat(key=idp.token("HS256", aud=["x", "b"])).status_code == 200
    says(server.chat(key=idp.token("HS256", aud="x")), 401, "aud")


def test_leeway(start, idp):
    server = start({"secret": SECRET, "leeway": 30})
    assert server.chat(key=idp.token("HS256", exp=-5)).status_code == 200
    expired = server.chat(key=idp.token("HS256", exp=-40))
    says(expired, 401, "expired")
    assert expired.json()["error"]["type"] == "expired_key"
    says(server.chat(key=idp.token("HS256", nbf=int(time.time()) + 60)), 401, "not valid yet")


def test_a_token_ends_when_it_says(start, idp):
    server = start({"secret": SECRET})
    token = idp.token("HS256", exp=2, sub="u")
    assert server.chat(key=token).status_code == 200
    time.sleep(2.2)
    says(server.chat(key=token), 401, "xpired")


def test_tokens_are_told_apart_by_all_of_them(start, idp):
    """Two tokens that begin alike are two people."""
    server = start({"secret": SECRET, "user_id_jwt_field": "sub", "user_id_upsert": True})
    admin(server, "/user/new", {"user_id": f"boss-{id(server)}", "user_role": "proxy_admin", "auto_create_key": False})
    boss = idp.token("HS256", a="x" * 200, sub=f"boss-{id(server)}")
    mate = idp.token("HS256", a="x" * 200, sub=f"mate-{id(server)}")
    assert boss[:200] == mate[:200]
    assert server.chat(key=boss).status_code == 200 and server.chat(key=mate).status_code == 200
    get(server, "/user/list", by=boss)
    get(server, "/user/list", by=mate, status=401)


def test_admin_jwt_scope_and_admin_allowed_routes(start, idp):
    server = start({"secret": SECRET, "admin_jwt_scope": "gateway.admin"})
    token = idp.token("HS256", scope="openid gateway.admin")
    assert admin(server, "/key/generate", {}, key=token)["key"].startswith("sk-")
    assert server.chat(key=token).status_code == 403, "LiteLLM's admins call no model unless told so"
    plain = idp.token("HS256", scope="litellm_proxy_admin", sub="u")
    assert server.post("/user/new", {}, key=plain).status_code in (401, 403)
    server = start({"secret": SECRET, "admin_allowed_routes": ["openai_routes"]})
    token = idp.token("HS256", scope="litellm_proxy_admin")
    assert server.chat(key=token).status_code == 200
    assert server.post("/key/generate", {}, key=token).status_code == 403


def test_team_id_jwt_field(start, idp):
    server = start({"secret": SECRET, "team_id_jwt_field": "client.team"})
    name = team(server, models=["m"])
    token = idp.token("HS256", client={"team": name})
    assert server.chat(key=token).status_code == 200
    says(server.chat("other", key=token), 403, "team not allowed")
    says(server.chat(key=idp.token("HS256", client={"team": "nobody's"})), 401, "Team doesn't exist")
    admin(server, "/team/block", {"team_id": name})
    says(server.chat(key=token), 401, "blocked")


def test_team_ids_jwt_field(start, idp):
    server = start({"secret": SECRET, "team_ids_jwt_field": "groups"})
    first, second = team(server, models=["m"]), team(server, models=["other"], rpm_limit=1)
    token = idp.token("HS256", groups=["no-team", first, second])
    assert server.chat("m", key=token).status_code == 200
    assert server.chat("other", key=token).status_code == 200
    says(server.chat("other", key=token), 429, f"team: {second}")
    assert server.chat("m", key=token).status_code == 200


def test_team_id_default(start, idp):
    server = start({"secret": SECRET})
    name = team(server, models=["m"])
    server = start({"secret": SECRET, "team_id_jwt_field": "team", "team_id_default": name})
    if server.chat(key=idp.token("HS256", sub="u")).status_code == 401:
        name = team(server, team_id=name, models=["m"])  # The embedded file is each gateway's own.
    assert server.chat(key=idp.token("HS256", sub="v")).status_code == 200
    says(server.chat("other", key=idp.token("HS256", sub="v")), 403, "team not allowed")


def test_team_id_upsert(start, idp):
    server = start({"secret": SECRET, "team_id_jwt_field": "team", "team_id_upsert": True})
    name = f"made-{time.monotonic_ns()}"
    assert server.chat(key=idp.token("HS256", team=name)).status_code == 200
    assert get(server, "/team/info", team_id=name)["team_info"]["team_id"] == name


def test_team_allowed_routes(start, idp):
    jwt = {"secret": SECRET, "team_id_jwt_field": "team", "team_id_upsert": True}
    server = start(jwt)
    token = idp.token("HS256", team="routes")
    assert server.chat(key=token).status_code == 200
    assert server.post("/key/generate", {"team_id": "routes"}, key=token).status_code == 403
    server = start({**jwt, "team_allowed_routes": ["info_routes"]})
    assert server.chat(key=token).status_code == 403
    get(server, "/v1/models", by=token)


def test_user_id_jwt_field_and_user_id_upsert(start, idp):
    server = start({"secret": SECRET, "user_id_jwt_field": "oid"})
    name = f"user-{time.monotonic_ns()}"
    says(server.chat(key=idp.token("HS256", oid=name)), 401, "User doesn't exist")
    admin(server, "/user/new", {"user_id": name, "models": ["m"], "auto_create_key": False})
    time.sleep(0.1)
    token = idp.token("HS256", oid=name, jti="2")
    assert server.chat(key=token).status_code == 200
    says(server.chat("other", key=token), 403, "user not allowed")
    server = start({"secret": SECRET, "user_id_jwt_field": "oid", "user_id_upsert": True, "user_email_jwt_field": "email"})
    name = f"new-{time.monotonic_ns()}"
    assert server.chat(key=idp.token("HS256", oid=name, email=f"{name}@a.example")).status_code == 200
    info = get(server, "/user/info", user_id=name)["user_info"]
    assert info["user_email"] == f"{name}@a.example" and info["user_role"] == "internal_user"


def test_user_email_jwt_field(start, idp):
    server = start({"secret": SECRET, "user_id_jwt_field": "oid", "user_email_jwt_field": "mail"})
    name = f"u{time.monotonic_ns()}"
    admin(server, "/user/new", {"user_id": name, "user_email": f"{name}@a.example", "models": ["m"], "auto_create_key": False})
    token = idp.token("HS256", oid="another-id", mail=f"{name}@a.example")
    assert server.chat(key=token).status_code == 200
    assert server.chat("other", key=token).status_code == 403


def test_user_allowed_email_domain(start, idp):
    server = start({"secret": SECRET, "user_email_jwt_field": "email", "user_allowed_email_domain": "a.example"})
    assert server.chat(key=idp.token("HS256", email="x@a.example")).status_code == 200
    says(server.chat(key=idp.token("HS256", email="x@b.example")), 403, "user_allowed_email_domain")
    says(server.chat(key=idp.token("HS256", email="x@a.example.evil")), 403, "user_allowed_email_domain")


def test_user_roles_jwt_field_and_user_allowed_roles(start, idp):
    server = start({"secret": SECRET, "user_roles_jwt_field": "resource_access.roles", "user_allowed_roles": ["basic"]})
    assert server.chat(key=idp.token("HS256", resource_access={"roles": ["x", "basic"]})).status_code == 200
    says(server.chat(key=idp.token("HS256", resource_access={"roles": ["x"]})), 403, "user_allowed_roles")


def test_end_user_id_jwt_field(start, idp):
    server = start({"secret": SECRET, "end_user_id_jwt_field": "customer"})
    name = f"c{time.monotonic_ns()}"
    admin(server, "/customer/new", {"user_id": name, "blocked": True})
    says(server.chat(key=idp.token("HS256", customer=name)), 401, f"User blocked: end_user:{name}")
    assert server.chat(key=idp.token("HS256", customer="free"), user=name).status_code == 200


def test_org_id_jwt_field(start, idp):
    server = start({"secret": SECRET, "org_id_jwt_field": "org"})
    org = admin(server, "/organization/new", {"organization_alias": f"o{time.monotonic_ns()}", "models": ["m"]})["organization_id"]
    token = idp.token("HS256", org=org)
    assert server.chat(key=token).status_code == 200
    says(server.chat("other", key=token), 403, "organization not allowed")


def test_role_mappings_roles_jwt_field_and_object_id_jwt_field(start, idp):
    server = start({"secret": SECRET, "roles_jwt_field": "roles", "object_id_jwt_field": "oid", "enforce_rbac": True,
                    "role_mappings": [{"role": "llm.admin", "internal_role": "proxy_admin"},
                                      {"role": "llm.app", "internal_role": "team"}]})
    admin(server, "/key/generate", {}, key=idp.token("HS256", roles=["llm.admin"]))
    name = team(server, models=["m"])
    token = idp.token("HS256", roles=["llm.app"], oid=name)
    assert server.chat(key=token).status_code == 200
    assert server.chat("other", key=token).status_code == 403
    says(server.chat(key=idp.token("HS256", roles=["llm.app"])), 403, "oid")


def test_scope_mappings_and_enforce_scope_based_access(start, idp):
    scopes = [{"scope": "llm.chat", "models": ["m"]}, {"scope": "llm.info", "models": [], "routes": ["/v1/models"]}]
    server = start({"secret": SECRET, "scope_mappings": scopes, "enforce_scope_based_access": True})
    token = idp.token("HS256", scope="llm.chat")
    assert server.chat(key=token).status_code == 200
    assert server.chat("other", key=token).status_code == 403
    says(server.chat(key=idp.token("HS256", scope="else")), 403, "scope_mappings")
    assert server.chat(key=idp.token("HS256", scope="llm.info")).status_code == 403
    server = start({"secret": SECRET, "scope_mappings": scopes})
    assert server.chat("other", key=idp.token("HS256", scope="else")).status_code == 200


def test_enforce_rbac(start, idp):
    server = start({"secret": SECRET, "enforce_rbac": True, "user_roles_jwt_field": "roles", "user_allowed_roles": ["basic"]})
    assert server.chat(key=idp.token("HS256", roles=["basic"])).status_code == 200
    assert server.chat(key=idp.token("HS256", sub="u")).status_code == 403
    server = start({"secret": SECRET, "enforce_rbac": True})
    says(server.chat(key=idp.token("HS256", sub="u")), 403, "enforce_rbac")


def test_enforce_team_based_model_access(start, idp):
    server = start({"secret": SECRET, "team_id_jwt_field": "team", "enforce_team_based_model_access": True})
    says(server.chat(key=idp.token("HS256", sub="u")), 403, "enforce_team_based_model_access")
    name = team(server, models=["m"])
    assert server.chat(key=idp.token("HS256", team=name)).status_code == 200


def test_public_allowed_routes(start, idp):
    server = start({"secret": SECRET, "public_allowed_routes": ["/v1/models"]})
    assert server.client.get("/v1/models").status_code == 200
    server = start({"secret": SECRET})
    assert server.client.get("/v1/models").status_code == 401


def test_a_reload_forgets_verdicts(start, idp, upstream):
    server = start({"secret": SECRET})
    token = idp.token("HS256", sub="u")
    assert server.chat(key=token).status_code == 200
    text = server.path.read_text().replace(SECRET, "a new secret of both sides")
    server.reload(text)
    server.wait_log("reloaded")
    eventually(lambda: server.chat(key=token).status_code == 401, 5)


def test_enable_oauth2_auth(start, idp):
    idp.opaque["opaque-1"] = {"sub": f"o-{time.monotonic_ns()}", "role": "internal_user"}
    idp.opaque["opaque-2"] = {"sub": "root", "role": "proxy_admin"}
    server = start(env={"OAUTH_TOKEN_INFO_ENDPOINT": idp.url + "/info"}, enable_oauth2_auth=True)
    assert server.chat(key="opaque-1").status_code == 200
    asked = len(idp.asked)
    for _ in range(5):
        assert server.chat(key="opaque-1").status_code == 200
    assert len(idp.asked) <= asked + 1, "remembered by each shard"
    says(server.chat(key="opaque-9"), 401, "refuses the token")
    get(server, "/user/list", by="opaque-2")
    get(server, "/user/list", by="opaque-1", status=401)
    env = {"OAUTH_TOKEN_INFO_ENDPOINT": idp.url + "/introspect", "OAUTH_CLIENT_ID": "us", "OAUTH_CLIENT_SECRET": "hush",
           "OAUTH_USER_ID_FIELD_NAME": "uid", "OAUTH_USER_TEAM_ID_FIELD_NAME": "group"}
    server = start(env=env, enable_oauth2_auth=True)
    name = team(server, models=["m"])
    idp.opaque["opaque-3"] = {"uid": "x", "group": name, "exp": int(time.time()) + 60}
    assert server.chat(key="opaque-3").status_code == 200
    assert server.chat("other", key="opaque-3").status_code == 403
    says(server.chat(key="opaque-9"), 401, "not active")
    assert idp.asked[-1][2].startswith("Basic ")
    assert "hush" not in server.log and "opaque-3" not in server.log


def test_enable_oauth2_proxy_auth_trusted_proxy_ranges_and_oauth2_config_mappings(start):
    on = {"enable_oauth2_proxy_auth": True, "trusted_proxies": ["127.0.0.1/32"]}
    server = start(**on)
    name = f"p{time.monotonic_ns()}"
    admin(server, "/user/new", {"user_id": name, "models": ["m"], "auto_create_key": False})
    who = {"x-forwarded-user": name}
    assert server.chat(headers=who).status_code == 200
    assert server.chat("other", headers=who).status_code == 403
    assert server.chat().status_code == 401, "nobody named, no key"
    assert server.chat(key="sk-anything-at-all").status_code == 401
    mapped = start(**on, oauth2_config_mappings={"user_id": "X-Me", "models": "X-Models", "team_id": "X-Team"})
    assert mapped.chat(headers={"x-me": "a", "x-models": "m, other"}).status_code == 200
    assert mapped.chat(headers={"x-me": "a", "x-models": "other"}).status_code == 403
    says(mapped.chat(headers={"x-me": "a", "x-team": "none"}), 401, "Team doesn't exist")
    far = start(enable_oauth2_proxy_auth=True, trusted_proxies=["10.0.0.0/8"])
    assert far.chat(headers={"x-forwarded-user": name}).status_code == 401, "not a trusted peer"


def test_virtual_key_claim_field(start, idp):
    """A key stands for the bearers of a claim: its models, its name; of this issuer before any."""
    server = start({"secret": SECRET, "virtual_key_claim_field": "client.id"})
    name = f"client-{id(server)}-{time.time_ns()}"
    claim = {"jwt_claim_name": "client.id", "jwt_claim_value": name}
    token = idp.token("HS256", client={"id": name}, iss="https://one")
    narrow, wide = admin(server, "/key/generate", {"models": ["other"]}), admin(server, "/key/generate", {"models": ["m"]})
    any_issuer = admin(server, "/jwt/key/mapping/new", {**claim, "key": narrow["key"]})["id"]
    assert server.post("/jwt/key/mapping/new", {**claim, "key": wide["key"]}, key=KEY).status_code == 409
    assert server.chat(key=token).status_code == 403 and server.chat("other", key=token).status_code == 200
    admin(server, "/jwt/key/mapping/new", {**claim, "jwt_issuer": "https://one", "token": wide["token"]})
    assert server.chat(key=token).status_code == 200 and server.chat("other", key=token).status_code == 403
    elsewhere = idp.token("HS256", client={"id": name}, iss="https://two")
    assert server.chat("other", key=elsewhere).status_code == 200
    admin(server, "/jwt/key/mapping/update", {"id": any_issuer, "is_active": False})
    # Nothing stands for it any more: it is a bearer like others, who may call every model.
    assert server.chat(key=elsewhere).status_code == 200
    admin(server, "/key/block", {"key": wide["key"]})
    says(server.chat(key=token), 401, "blocked")
    forged = idp.token("HS256", client={"id": name}, iss="https://one")[:-4] + "AAAA"
    assert server.chat(key=forged).status_code == 401

"""One case for each route of the management API: a good request and what its answer has, who else may
call it, and a bad request. `test_routes_by_name.py` runs them on both stores and counts them.

A case is `route: (make, expect, plain, bad)`. `make(world)` gives the request: the path's parameters under
their names, `query` and `body`. `expect` is a set of fields, `list`, or a function of the answer and the
request that asserts. `plain` is the status that a key without a user gets for the same request. `bad`
makes a wrong request and says its status; None where nothing can be wrong."""

import time

from gateway import KEY, admin

CASES = {}
# The status of a good answer where it is not 200.
STATUS = {}


def case(route, make=None, expect=(), plain=401, bad=None):
    assert route not in CASES, route
    CASES[route] = (make or (lambda world: {}), expect, plain, bad)


def body(**fields):
    return {"body": fields}


def query(**fields):
    return {"query": fields}


class World:
    """What requests are about; everything has a name of its own."""

    def __init__(self, server):
        self.server = server
        self.count = 0

    def name(self, prefix="n"):
        self.count += 1
        return f"{prefix}-{time.time_ns()}-{self.count}"

    def admin(self, path, /, **fields):
        return admin(self.server, path, fields)

    def key(self, **fields):
        return self.admin("/key/generate", **fields)["key"]

    def team(self, **fields):
        return self.admin("/team/new", **fields)["team_id"]

    def user(self, **fields):
        return self.admin("/user/new", user_id=self.name("user"), **fields)["user_id"]

    def member(self, **fields):
        """A team and somebody in it."""
        team, user = self.team(), self.user()
        self.admin("/team/member_add", team_id=team, member={"role": "user", "user_id": user}, **fields)
        return team, user

    def organization(self, **fields):
        return self.admin("/organization/new", organization_alias=self.name("org"), **fields)["organization_id"]

    def budget(self, **fields):
        return self.admin("/budget/new", **{"max_budget": 5, **fields})["budget_id"]

    def customer(self):
        return self.admin("/customer/new", user_id=self.name("customer"))["user_id"]

    def tag(self):
        name = self.name("tag")
        self.admin("/tag/new", name=name)
        return name

    def model(self, **info):
        return self.admin("/model/new", model_name=self.name("model"), model_info=info, litellm_params={
            "model": "openai/x", "api_key": "sk-stored-provider-key", "api_base": "http://127.0.0.1:9/v1"})

    def credential(self):
        name = self.name("credential")
        self.admin("/credentials", credential_name=name, credential_values={"api_key": "sk-lent-provider-key"})
        return name

    def invitation(self):
        return self.admin("/invitation/new", user_id=self.user())["id"]

    def passage(self):
        path = "/" + self.name("passage")
        return self.admin("/config/pass_through_endpoint", path=path, target="http://127.0.0.1:9")["endpoints"][0]

    def group(self):
        model = self.model()["model_name"]
        group = self.name("group")
        self.admin("/access_group/new", access_group=group, model_names=[model])
        return group, model

    def unified_group(self, **fields):
        answer = self.server.post("/v1/access_group", {"access_group_name": self.name("group"), **fields}, key=KEY)
        assert answer.status_code == 201, answer.text
        return answer.json()["access_group_id"]

    def mapping(self):
        return self.admin("/jwt/key/mapping/new", jwt_claim_name="client_id", jwt_claim_value=self.name("client"), key=self.key())["id"]

    def callback(self):
        team = self.team()
        self.admin(f"/team/{team}/callback", callback_name="langfuse", callback_type="success",
                   callback_vars={"langfuse_secret_key": "sk-lf-canary"})
        return team


def sent(field, answer_field=None):
    """The answer repeats this field of the body."""
    return lambda answer, request: check(answer[answer_field or field] == request["body"][field], answer)


def check(holds, answer):
    assert holds, answer


def all_of(*checks):
    def run(answer, request):
        for one in checks:
            if isinstance(one, set):
                assert one <= set(answer), answer
            else:
                one(answer, request)

    return run


# /key
KEY_FIELDS = {"key", "token", "key_name", "expires", "user_id", "team_id", "max_budget", "models", "token_id", "spend"}
NO_KEY = lambda w: (body(key="sk-there-is-no-such-key"), 404)
case("POST /key/generate", lambda w: body(key_alias=w.name(), max_budget=1, soft_budget=0.5, duration="1h"),
     all_of(KEY_FIELDS, sent("key_alias"), sent("max_budget")), bad=lambda w: (body(max_budget=-1), 400))
case("POST /key/service-account/generate", lambda w: body(team_id=w.team()),
     lambda a, r: check("service_account_id" in a["metadata"] and a["user_id"] is None, a), bad=lambda w: (body(), 400))
case("GET /key/info", lambda w: query(key=w.key(soft_budget=1)),
     lambda a, r: check(a["info"]["litellm_budget_table"]["soft_budget"] == 1 and "token" not in a["info"], a),
     plain=403, bad=lambda w: (query(key="sk-no-such-key-is-there"), 404))
case("POST /v2/key/info", lambda w: body(keys=[w.key(), w.key()]), lambda a, r: check(len(a["info"]) == 2, a),
     plain=403, bad=lambda w: (body(keys=["sk-no-such-key-is-there"]), 404))
case("POST /key/update", lambda w: body(key=w.key(), max_budget=7, key_alias=w.name()),
     all_of(sent("max_budget"), sent("key_alias")), bad=NO_KEY)
case("POST /key/bulk_update", lambda w: body(keys=[{"key": w.key(), "max_budget": 2}, {"key": "sk-nobody-has-this"}]),
     lambda a, r: check(len(a["successful_updates"]) == len(a["failed_updates"]) == 1, a), plain=401)
case("POST /key/delete", lambda w: body(keys=[w.key()]),
     lambda a, r: check(a["deleted_keys"] == r["body"]["keys"], a), bad=lambda w: (body(), 400))
case("POST /key/regenerate", lambda w: body(key=w.key()),
     lambda a, r: check(a["key"] != r["body"]["key"] and a["rotation_count"] == 1, a), bad=NO_KEY)
case("POST /key/{key}/regenerate", lambda w: {"key": w.key(), "body": {"max_budget": 3}},
     lambda a, r: check(a["key"] != r["key"] and a["max_budget"] == 3, a), bad=lambda w: ({"key": "sk-there-is-no-such"}, 404))
case("POST /key/{key}/reset_spend", lambda w: {"key": w.key(), "body": {"reset_to": 0.5}},
     lambda a, r: check(a["spend"] == 0.5 and a["previous_spend"] == 0, a), bad=lambda w: ({"key": "sk-there-is-no-such"}, 404))
case("POST /key/block", lambda w: body(key=w.key()), lambda a, r: check(a["blocked"] is True, a), bad=NO_KEY)
case("POST /key/unblock", lambda w: body(key=w.key(blocked=True)), lambda a, r: check(a["blocked"] is False, a), bad=NO_KEY)
case("GET /key/list", lambda w: query(key_alias=(w.key(key_alias="listed-" + w.name()), "listed")[1], size=1),
     {"keys", "total_count", "current_page", "total_pages"}, plain=403)
case("GET /key/aliases", lambda w: (w.key(key_alias="alias-" + w.name()), query(search="alias-"))[1],
     lambda a, r: check(a["aliases"] and a["total_count"] >= 1, a), plain=403)
case("POST /key/health", None, lambda a, r: check(a["key"] == "healthy", a), plain=200)

# /user
USER_FIELDS = {"user_id", "user_email", "user_role", "max_budget", "spend", "teams", "models"}
case("POST /user/new", lambda w: body(user_id=w.name(), max_budget=4, user_role="internal_user"),
     all_of(USER_FIELDS | {"key"}, sent("max_budget"), sent("user_role")), bad=lambda w: (body(user_role="king"), 400))
case("GET /user/info", lambda w: query(user_id=w.user()),
     lambda a, r: check(a["user_info"]["user_id"] == r["query"]["user_id"] and len(a["keys"]) == 1, a),
     plain=403, bad=lambda w: (query(user_id="nobody-here"), 404))
case("GET /v2/user/info", lambda w: query(user_id=w.user()), USER_FIELDS, plain=403, bad=lambda w: (query(user_id="nobody-here"), 404))
case("POST /user/update", lambda w: body(user_id=w.user(), max_budget=9),
     lambda a, r: check(a["data"]["max_budget"] == 9, a), bad=lambda w: (body(max_budget=1), 400))
case("POST /user/bulk_update", lambda w: body(users=[{"user_id": w.user(), "max_budget": 3}, {"user_id": w.user(), "user_role": "king"}]),
     lambda a, r: check((a["successful_updates"], a["failed_updates"]) == (1, 1), a), bad=lambda w: (body(users=[]), 400))
case("POST /user/delete", lambda w: body(user_ids=[w.user()]), lambda a, r: check(a == 1, a), bad=lambda w: (body(user_ids=["nobody-here"]), 404))
LISTED = {"users", "total", "page", "page_size", "total_pages"}
case("GET /user/list", lambda w: query(user_ids=w.user()), all_of(LISTED, lambda a, r: check(a["total"] == 1, a)))
case("GET /user/get_users", lambda w: query(user_ids=w.user()), LISTED)
case("GET /user/available_roles", None, {"proxy_admin", "internal_user"}, plain=200)
case("GET /user/filter/ui", lambda w: query(user_id=w.user()), lambda a, r: check(len(a) == 1, a))

# /team
TEAM_FIELDS = {"team_id", "team_alias", "members_with_roles", "max_budget", "spend", "models", "blocked", "metadata"}
NO_TEAM = lambda w: (body(team_id="no-such-team"), 404)
case("POST /team/new", lambda w: body(team_alias=w.name(), max_budget=9, models=["m"]),
     all_of(TEAM_FIELDS, sent("team_alias"), sent("max_budget")), bad=lambda w: (body(max_budget="much"), 400))
case("POST /team/update", lambda w: body(team_id=w.team(), max_budget=8),
     lambda a, r: check(a["data"]["max_budget"] == 8, a), plain=403, bad=NO_TEAM)
case("PATCH /team/{team_id}", lambda w: {"team_id": w.team(), "body": {"team_alias": "patched"}},
     lambda a, r: check(a["data"]["team_alias"] == "patched", a), plain=403, bad=lambda w: ({"team_id": "no-such-team"}, 404))
case("POST /team/delete", lambda w: body(team_ids=[w.team()]), {"deleted_teams"}, plain=403, bad=lambda w: (body(team_ids=[]), 400))
case("GET /team/info", lambda w: query(team_id=w.member(max_budget_in_team=2)[0]),
     lambda a, r: check(a["team_memberships"][0]["litellm_budget_table"]["max_budget"] == 2, a),
     plain=403, bad=lambda w: (query(team_id="no-such-team"), 404))
case("GET /team/list", lambda w: query(team_id=w.team()), lambda a, r: check("keys" in a[0], a), plain=200)
case("GET /v2/team/list", lambda w: query(team_id=w.team()), lambda a, r: check(a["total"] == 1, a), plain=200)
case("GET /team/available", None, list, plain=200)
case("GET /team/filter/ui", lambda w: query(team_id=w.team()), lambda a, r: check(len(a) == 1, a), plain=200)
case("POST /team/block", lambda w: body(team_id=w.team()), lambda a, r: check(a["blocked"] is True, a), bad=NO_TEAM)
case("POST /team/unblock", lambda w: body(team_id=w.team()), lambda a, r: check(a["blocked"] is False, a), bad=NO_TEAM)
case("POST /team/model/add", lambda w: body(team_id=w.team(models=["m"]), models=["other"]),
     lambda a, r: check(a["models"] == ["m", "other"], a), bad=NO_TEAM)
case("POST /team/model/delete", lambda w: body(team_id=w.team(models=["m", "other"]), models=["other"]),
     lambda a, r: check(a["models"] == ["m"], a), bad=NO_TEAM)
case("GET /team/permissions_list", lambda w: query(team_id=w.team()),
     {"team_id", "team_member_permissions", "all_available_permissions"}, plain=403, bad=lambda w: (query(team_id="no-such-team"), 404))
case("POST /team/permissions_update", lambda w: body(team_id=w.team(), team_member_permissions=["/key/generate"]),
     sent("team_member_permissions"), plain=403, bad=lambda w: (body(team_id=w.team(), team_member_permissions=["/fly"]), 400))
case("POST /team/permissions_bulk_update", lambda w: body(team_ids=[w.team(), w.team()], permissions=["/key/update"]),
     lambda a, r: check(a["teams_updated"] == 2, a), bad=lambda w: (body(team_ids=[w.team()], permissions=["/fly"]), 400))
def team_keys(w):
    team = w.team()
    w.key(team_id=team)
    return body(team_id=team, all_keys_in_team=True, update_fields={"max_budget": 2})


case("POST /team/key/bulk_update", team_keys, lambda a, r: check(len(a["successful_updates"]) == 1, a), plain=403, bad=NO_TEAM)
case("POST /team/member_add", lambda w: body(team_id=w.team(), member={"role": "user", "user_id": w.user()}, max_budget_in_team=1),
     all_of(TEAM_FIELDS, {"updated_users", "updated_team_memberships"}), plain=403, bad=lambda w: (body(team_id=w.team()), 400))
case("POST /team/bulk_member_add", lambda w: body(team_id=w.team(), members=[{"role": "user", "user_id": w.user()}, {"role": "king", "user_id": "x"}]),
     lambda a, r: check((a["successful_additions"], a["failed_additions"]) == (1, 1), a), plain=403,
     bad=lambda w: (body(team_id=w.team(), members=[]), 400))


def member(w, **fields):
    team, user = w.member()
    return body(team_id=team, user_id=user, **fields)


case("POST /team/member_update", lambda w: member(w, max_budget_in_team=6, role="admin"),
     {"team_id", "user_id", "max_budget_in_team"}, plain=403, bad=lambda w: (body(team_id=w.team(), user_id="nobody"), 400))
case("POST /team/member_delete", member, TEAM_FIELDS, plain=403, bad=lambda w: (body(team_id=w.team(), user_id="nobody"), 400))


def in_team(w, **more):
    team, user = w.member(max_budget_in_team=3)
    return {"team_id": team, "user_id": user, **more}


def me(w):
    team = w.team()
    w.admin("/team/member_add", team_id=team, member={"role": "user", "user_id": "default_user_id"})
    return {"team_id": team}


case("GET /team/{team_id}/members/me", me, {"team_id", "user_id", "role", "litellm_budget_table"}, plain=404,
     bad=lambda w: ({"team_id": "no-such-team"}, 404))
case("POST /team/{team_id}/member/{user_id}/reset_spend", lambda w: in_team(w, body={"reset_to": 0.25}),
     lambda a, r: check(a["spend"] == 0.25, a), plain=403, bad=lambda w: (in_team(w, body={"reset_to": -1}), 400))
case("POST /team/{team_id}/member/{user_id}/reset_budget", in_team,
     lambda a, r: check(a["litellm_budget_table"] is None, a), plain=403, bad=lambda w: ({"team_id": w.team(), "user_id": "nobody"}, 404))


def bulk(w, make):
    team, user = w.member()
    return {"team_id": team, "body": make(user)}


case("POST /teams/{team_id}/members/bulk_delete", lambda w: bulk(w, lambda user: {"user_ids": [user, "nobody"]}),
     lambda a, r: check((a["successful"], a["failed"]) == (1, 1), a), plain=403, bad=lambda w: ({"team_id": w.team(), "body": {"user_ids": []}}, 400))
case("POST /teams/{team_id}/members/bulk_update", lambda w: bulk(w, lambda user: {"members": [{"user_id": user, "max_budget_in_team": 2}]}),
     lambda a, r: check((a["successful"], a["failed"]) == (1, 0), a), plain=403, bad=lambda w: ({"team_id": w.team(), "body": {"members": []}}, 400))
case("POST /team/{team_id}/callback", lambda w: {"team_id": w.team(), "body": {"callback_name": "langfuse", "callback_vars": {"langfuse_secret_key": "sk-lf-canary"}}},
     lambda a, r: check(a["status"] == "success" and "sk-lf-canary" not in str(a), a), plain=403,
     bad=lambda w: ({"team_id": w.team(), "body": {"callback_name": "langfuse", "callback_type": "often"}}, 400))
case("GET /team/{team_id}/callback", lambda w: {"team_id": w.callback()},
     lambda a, r: check(a["data"]["success_callbacks"] == ["langfuse"] and a["data"]["callback_vars"] == {"langfuse_secret_key": "*****"}, a),
     plain=403, bad=lambda w: ({"team_id": "no-such-team"}, 404))
case("DELETE /team/{team_id}/callback/{callback_name}", lambda w: {"team_id": w.callback(), "callback_name": "langfuse"},
     lambda a, r: check(a["data"]["metadata"]["logging"] == [], a), plain=403, bad=lambda w: ({"team_id": w.team(), "callback_name": "none"}, 404))
case("POST /team/{team_id}/disable_logging", lambda w: {"team_id": w.callback()},
     lambda a, r: check(a["data"]["success_callbacks"] == [], a), plain=403, bad=lambda w: ({"team_id": "no-such-team"}, 404))

# /organization
ORG_FIELDS = {"organization_id", "organization_alias", "budget_id", "litellm_budget_table", "members", "teams"}
case("POST /organization/new", lambda w: body(organization_alias=w.name(), max_budget=7),
     all_of(ORG_FIELDS, lambda a, r: check(a["litellm_budget_table"]["max_budget"] == 7, a)), bad=lambda w: (body(max_budget=7), 400))
case("PATCH /organization/update", lambda w: body(organization_id=w.organization(), max_budget=5), ORG_FIELDS, plain=403,
     bad=lambda w: (body(organization_alias="x"), 400))
case("DELETE /organization/delete", lambda w: body(organization_ids=[w.organization()]), list, bad=lambda w: (body(organization_ids=["no-such"]), 404))
case("GET /organization/list", None, list, plain=200)
case("GET /organization/info", lambda w: query(organization_id=w.organization()), ORG_FIELDS, plain=403, bad=lambda w: (query(organization_id="no-such"), 404))
case("POST /organization/info", lambda w: body(organizations=[w.organization()]), lambda a, r: check(len(a) == 1, a),
     bad=lambda w: (body(organizations=["no-such"]), 404))
def org_member(w, **more):
    organization, user = w.organization(), w.user()
    w.admin("/organization/member_add", organization_id=organization, member={"role": "internal_user", "user_id": user})
    return body(organization_id=organization, user_id=user, **more)


case("POST /organization/member_add", lambda w: body(organization_id=w.organization(), member={"role": "org_admin", "user_id": w.user()}),
     {"organization_id", "updated_users", "updated_organization_memberships"}, plain=403, bad=lambda w: (body(organization_id=w.organization()), 400))
case("PATCH /organization/member_update", lambda w: org_member(w, role="org_admin", max_budget_in_organization=3),
     {"user_id", "organization_id", "user_role"}, plain=403, bad=lambda w: (body(organization_id=w.organization(), user_id="nobody"), 404))
case("DELETE /organization/member_delete", org_member, {"user_id", "organization_id"}, plain=403,
     bad=lambda w: (body(organization_id=w.organization(), user_id="nobody"), 404))

# /customer and /end_user
for head in ("/customer", "/end_user"):
    case(f"POST {head}/new", lambda w: body(user_id=w.name(), max_budget=2),
         lambda a, r: check(a["litellm_budget_table"]["max_budget"] == 2, a), bad=lambda w: (body(max_budget=2), 400))
    case(f"POST {head}/update", lambda w: body(user_id=w.customer(), alias="renamed"), sent("alias"), bad=lambda w: (body(user_id="nobody-here"), 404))
    case(f"POST {head}/delete", lambda w: body(user_ids=[w.customer()]), lambda a, r: check(a["deleted_customers"] == 1, a), bad=lambda w: (body(user_ids=[]), 400))
    case(f"GET {head}/info", lambda w: query(end_user_id=w.customer()), {"user_id", "blocked", "spend", "litellm_budget_table"},
         bad=lambda w: (query(end_user_id="nobody-here"), 404))
    case(f"GET {head}/list", lambda w: (w.customer(), {})[1], list)
    case(f"POST {head}/block", lambda w: body(user_ids=[w.name()]), lambda a, r: check(a["blocked_users"][0]["blocked"] is True, a),
         bad=lambda w: (body(), 400))
    case(f"POST {head}/unblock", lambda w: body(user_ids=[w.customer()]), {"blocked_users"}, bad=lambda w: (body(), 400))

# /budget
case("POST /budget/new", lambda w: body(max_budget=3, budget_duration="1d"),
     all_of({"budget_id", "budget_reset_at"}, sent("max_budget")), bad=lambda w: (body(budget_duration="soon"), 400))
case("POST /budget/update", lambda w: body(budget_id=w.budget(), max_budget=8), sent("max_budget"), bad=lambda w: (body(budget_id="no-such", max_budget=1), 404))
case("POST /budget/info", lambda w: body(budgets=[w.budget()]), lambda a, r: check(len(a) == 1, a), bad=lambda w: (body(budgets=[]), 400))
case("GET /budget/list", lambda w: (w.budget(), {})[1], list)
case("GET /budget/settings", lambda w: query(budget_id=w.budget(max_budget=6)),
     lambda a, r: check({f["field_name"]: f["field_value"] for f in a}["max_budget"] == 6, a), bad=lambda w: (query(budget_id="no-such"), 404))
case("POST /budget/delete", lambda w: body(id=w.budget()), {"budget_id"}, bad=lambda w: (body(id="no-such"), 404))

# /tag
case("POST /tag/new", lambda w: body(name=w.name(), max_budget=2, description="d"),
     lambda a, r: check(a["tag"]["litellm_budget_table"]["max_budget"] == 2, a), bad=lambda w: (body(description="d"), 400))
case("POST /tag/update", lambda w: body(name=w.tag(), description="new"), lambda a, r: check(a["tag"]["description"] == "new", a), bad=lambda w: (body(name="no-such"), 404))
case("POST /tag/info", lambda w: body(names=[w.tag()]), lambda a, r: check(r["body"]["names"][0] in a, a), bad=lambda w: (body(names=["no-such"]), 404))
case("GET /tag/list", lambda w: (w.tag(), {})[1], list)
case("POST /tag/delete", lambda w: body(name=w.tag()), {"message"}, bad=lambda w: (body(name="no-such"), 404))

# /model and what is about models
PARAMS = {"model": "openai/x", "api_key": "sk-stored-provider-key", "api_base": "http://127.0.0.1:9/v1"}
MODEL_ROW = {"model_id", "model_name", "litellm_params", "model_info"}


def no_secret(answer, request):
    assert "sk-stored-provider-key" not in str(answer), answer


case("POST /model/new", lambda w: body(model_name=w.name(), litellm_params=PARAMS), all_of(MODEL_ROW, no_secret), bad=lambda w: (body(model_name="x"), 400))
case("POST /model/update", lambda w: body(model_info={"id": w.model()["model_id"]}, model_name="renamed"),
     all_of(sent("model_name"), no_secret), bad=lambda w: (body(model_info={"id": "no-such"}), 404))
case("PATCH /model/{id}/update", lambda w: {"id": w.model()["model_id"], "body": {"model_name": "patched"}}, all_of(sent("model_name"), no_secret),
     bad=lambda w: ({"id": "no-such", "body": {}}, 404))
case("POST /model/delete", lambda w: body(id=w.model()["model_id"]), {"message"}, bad=lambda w: (body(id="no-such"), 400))
case("POST /model/block", lambda w: body(model_id=w.model()["model_id"]), lambda a, r: check(a["blocked"] is True, a), bad=lambda w: (body(model_id="no-such"), 404))
case("POST /model/unblock", lambda w: body(model_id=w.model()["model_id"]), lambda a, r: check(a["blocked"] is False, a), bad=lambda w: (body(model_id="no-such"), 404))
for path in ("/model/info", "/v1/model/info", "/v2/model/info"):
    case(f"GET {path}", None, all_of(lambda a, r: check({"model_name", "litellm_params", "model_info"} <= set(a["data"][0]), a), no_secret), plain=200)
case("GET /model_group/info", None, lambda a, r: check({"model_group", "providers", "mode"} <= set(a["data"][0]), a), plain=200)
case("GET /models", None, lambda a, r: check("m" in [m["id"] for m in a["data"]], a), plain=200)
case("GET /v1/models", None, lambda a, r: check(a["object"] == "list", a), plain=200)
case("GET /models/{id}", lambda w: {"id": "m"}, lambda a, r: check(a["id"] == "m", a), plain=200, bad=lambda w: ({"id": "no-such"}, 404))
case("GET /v1/models/{id}", lambda w: {"id": "m"}, lambda a, r: check(a["id"] == "m", a), plain=200, bad=lambda w: ({"id": "no-such"}, 404))
case("GET /model/settings", None, lambda a, r: check("openai" in [p["name"] for p in a] and a[0]["fields"], a))
TABLE = all_of({"data", "all_api_bases"}, lambda a, r: check(len(a["data"]) >= 1 and a["all_api_bases"], a))
case("GET /model/metrics", lambda w: query(_selected_model_group="m"), TABLE, bad=lambda w: (query(startTime="soon"), 400))
case("GET /model/streaming_metrics", lambda w: query(_selected_model_group="m"), TABLE, bad=lambda w: (query(startTime="soon"), 400))
case("GET /model/metrics/slow_responses", lambda w: query(slow_ms="0"),
     lambda a, r: check(a[0]["total_count"] >= a[0]["slow_count"] >= 1, a), bad=lambda w: (query(slow_ms="slow"), 400))
case("GET /model/metrics/exceptions", None,
     lambda a, r: check("RateLimitError" in a["exception_types"] and any(d.get("RateLimitError") for d in a["data"]), a),
     bad=lambda w: (query(endTime="soon"), 400))
case("POST /access_group/new", lambda w: body(access_group=w.name(), model_names=[w.model()["model_name"]]),
     lambda a, r: check(a["models_updated"] == 1, a), bad=lambda w: (body(access_group="g", model_names=["no-such"]), 400))
case("GET /access_group/list", lambda w: (w.group(), {})[1], {"access_groups"})
case("GET /access_group/{access_group}/info", lambda w: {"access_group": w.group()[0]},
     lambda a, r: check(a["deployment_count"] == 1, a), bad=lambda w: ({"access_group": "no-such"}, 404))


def other_group(w):
    return {"access_group": w.group()[0], "body": {"model_names": [w.model()["model_name"]]}}


case("PUT /access_group/{access_group}/update", other_group, lambda a, r: check(a["models_updated"] == 2, a),
     bad=lambda w: ({"access_group": "no-such", "body": {"model_names": ["m"]}}, 404))
case("DELETE /access_group/{access_group}/delete", lambda w: {"access_group": w.group()[0]},
     lambda a, r: check(a["models_updated"] == 1, a), bad=lambda w: ({"access_group": "no-such"}, 404))

# /credentials
MASKED = lambda a, r: check("sk-lent-provider-key" not in str(a) and "sk-stored-provider-key" not in str(a), a)
case("GET /credentials", lambda w: (w.credential(), {})[1], all_of({"credentials"}, MASKED))
case("POST /credentials", lambda w: body(credential_name=w.name(), credential_values={"api_key": "sk-lent-provider-key"}),
     MASKED, bad=lambda w: (body(credential_name="x"), 400))
case("GET /credentials/by_name/{name}", lambda w: {"name": w.credential()}, all_of({"credential_name", "credential_values"}, MASKED),
     bad=lambda w: ({"name": "no-such"}, 404))
case("GET /credentials/by_model/{model_id}", lambda w: {"model_id": w.model()["model_id"]},
     all_of(MASKED, lambda a, r: check("api_key" in a["credential_values"], a)), bad=lambda w: ({"model_id": "no-such"}, 404))
case("PATCH /credentials/{name}", lambda w: {"name": w.credential(), "body": {"credential_info": {"description": "d"}}},
     MASKED, bad=lambda w: ({"name": "no-such", "body": {"credential_info": {}}}, 404))
case("DELETE /credentials/{name}", lambda w: {"name": w.credential()}, MASKED, bad=lambda w: ({"name": "no-such"}, 404))

# /config and settings with routes of their own
case("POST /config/reload", None, lambda a, r: check(a["status"] == "reloaded", a))
case("POST /config/update", lambda w: body(litellm_settings={"request_timeout": 77}), {"message"},
     bad=lambda w: (body(litellm_settings={"request_timeout": "never"}), 400))
case("POST /config/field/update", lambda w: body(field_name="health_check_interval", field_value=999, config_type="general_settings"),
     lambda a, r: check(a["param_value"]["health_check_interval"] == 999, a), bad=lambda w: (body(field_name="no_such", field_value=1), 400))


def field(w):
    w.admin("/config/field/update", field_name="retry_after", field_value=1)


case("GET /config/field/info", lambda w: (field(w), query(field_name="retry_after"))[1],
     lambda a, r: check(a == {"field_name": "retry_after", "field_value": 1}, a), bad=lambda w: (query(field_name="no_such"), 400))
case("POST /config/field/delete", lambda w: (field(w), body(field_name="retry_after"))[1],
     lambda a, r: check("retry_after" not in a["param_value"], a), bad=lambda w: (body(field_name="completion_model"), 400))
case("GET /config/list", lambda w: query(config_type="general_settings"),
     lambda a, r: check(KEY not in str(a) and {"field_name", "field_type", "field_value", "stored_in_db"} <= set(a[0]), "fields"),
     bad=lambda w: (query(config_type="environment_variables"), 400))
case("GET /config/yaml", None, lambda a, r: check(KEY not in str(a) and "model_list" in a, a))
case("GET /get/config/callbacks", None, {"status", "callbacks", "alerts", "router_settings"})


def stored_callback(w):
    w.admin("/config/update", litellm_settings={"success_callback": ["langfuse", "lunary"]})


case("POST /config/callback/delete", lambda w: (stored_callback(w), body(callback_name="lunary"))[1],
     lambda a, r: check(a["remaining_callbacks"] == ["langfuse"], a), bad=lambda w: (body(callback_name="no-such"), 404))
case("GET /config/cost_discount_config", None, {"values"})
case("PATCH /config/cost_discount_config", lambda w: body(vertex_ai=0.05), lambda a, r: check(a["values"] == {"vertex_ai": 0.05}, a),
     bad=lambda w: (body(vertex_ai="much"), 400))
case("GET /config/cost_margin_config", None, {"values"})
case("PATCH /config/cost_margin_config", lambda w: body(vertex_ai=0.1), lambda a, r: check(a["values"] == {"vertex_ai": 0.1}, a),
     bad=lambda w: ({"body": [1]}, 422))
case("GET /get/internal_user_settings", None, {"values"})
case("PATCH /update/internal_user_settings", lambda w: body(budget_duration="30d"), lambda a, r: check(a["status"] == "success", a),
     bad=lambda w: ({"body": [1]}, 422))
case("GET /get/default_team_settings", None, {"values"})
case("PATCH /update/default_team_settings", lambda w: body(budget_duration="30d"), lambda a, r: check(a["status"] == "success", a),
     bad=lambda w: ({"body": [1]}, 422))
case("GET /get/allowed_ips", None, {"data"})
case("POST /add/allowed_ip", lambda w: (w.admin("/add/allowed_ip", ip="127.0.0.1"), body(ip="10.9.9.9"))[1], {"message", "status"},
     bad=lambda w: (body(ip="nowhere"), 400))
case("POST /delete/allowed_ip", lambda w: (w.admin("/add/allowed_ip", ip="127.0.0.1"), body(ip="10.9.9.9"))[1], {"message", "status"}, bad=lambda w: (body(), 400))
case("GET /config/pass_through_endpoint", lambda w: query(endpoint_id=w.passage()["id"]),
     lambda a, r: check(len(a["endpoints"]) == 1, a), bad=lambda w: (query(endpoint_id="no-such"), 404))
case("POST /config/pass_through_endpoint", lambda w: body(path="/" + w.name(), target="http://127.0.0.1:9", headers={"authorization": "Bearer canary"}),
     lambda a, r: check("canary" not in str(a) and a["endpoints"][0]["id"], a), bad=lambda w: (body(path="/x"), 400))
case("POST /config/pass_through_endpoint/{endpoint_id}", lambda w: {"endpoint_id": w.passage()["id"], "body": {"target": "http://127.0.0.1:8"}},
     lambda a, r: check(a["endpoints"][0]["target"].endswith(":8"), a), bad=lambda w: ({"endpoint_id": "no-such", "body": {}}, 404))
case("DELETE /config/pass_through_endpoint", lambda w: query(endpoint_id=w.passage()["id"]), {"endpoints"}, bad=lambda w: (query(endpoint_id="no-such"), 404))
case("GET /settings", None, {"litellm.success_callback", "num_callbacks"})
case("GET /active/callbacks", None, {"litellm.success_callback", "num_callbacks"})
case("GET /alerting/settings", None, lambda a, r: check({"field_name", "field_value"} <= set(a[0]), a))
case("GET /router/settings", None, {"fields", "current_values"})
case("GET /router/state", None, {"deployments"})
case("GET /provider/budgets", None, lambda a, r: check(a["providers"]["openai"]["budget_limit"] == 1000.0, a))

# /invitation and /audit
INVITED = {"id", "user_id", "is_accepted", "expires_at", "created_by"}
NO_INVITATION = (body(invitation_id="no-such", is_accepted=True), 400)
case("POST /invitation/new", lambda w: body(user_id=w.user()), INVITED, bad=lambda w: (body(user_id="nobody-here"), 400))
case("GET /invitation/info", lambda w: query(invitation_id=w.invitation()), INVITED, bad=lambda w: (query(invitation_id="no-such"), 400))
case("POST /invitation/update", lambda w: body(invitation_id=w.invitation(), is_accepted=True),
     lambda a, r: check(a["is_accepted"] and a["accepted_at"], a), bad=lambda w: NO_INVITATION)
case("POST /invitation/delete", lambda w: body(invitation_id=w.invitation()), INVITED, bad=lambda w: NO_INVITATION)


def audited(w):
    team = w.team(team_alias="before")
    w.admin("/team/update", team_id=team, team_alias="after")
    return query(object_id=team, action="updated")


def changed(answer, request):
    entry = answer["audit_logs"][0]
    assert entry["before_value"]["team_alias"] == "before" and entry["updated_values"]["team_alias"] == "after", entry
    assert entry["changed_by"] == "default_user_id" and entry["table_name"] == "LiteLLM_TeamTable", entry


def one_audit(w):
    found = w.server.client.get("/audit", params=audited(w)["query"], headers={"authorization": f"Bearer {KEY}"})
    return {"id": found.json()["audit_logs"][0]["id"]}


case("GET /audit", audited, all_of({"total", "page", "page_size", "total_pages"}, changed), bad=lambda w: (query(start_date="soon"), 400))
case("GET /audit/{id}", one_audit, {"id", "action", "object_id", "changed_by_api_key"}, bad=lambda w: ({"id": "no-such"}, 404))

# /spend and /global
SOON = lambda w: (query(start_date="soon"), 400)
some = lambda a, r: check(len(a) >= 1, a)
case("GET /spend/keys", None, some)
case("GET /spend/users", lambda w: query(user_id=w.user()), some)
case("GET /spend/tags", None, list, bad=SOON)
case("GET /spend/logs", lambda w: query(limit=5), lambda a, r: check({"request_id", "spend", "model"} <= set(a[0]), a), bad=SOON)
PAGED = {"data", "total", "page", "page_size", "total_pages"}
case("GET /spend/logs/ui", lambda w: query(page_size=2), all_of(PAGED, lambda a, r: check(a["total"] >= 1, a)), bad=SOON)
case("GET /spend/logs/v2", lambda w: query(page_size=2), PAGED, bad=SOON)
case("GET /spend/logs/session/ui", lambda w: query(session_id="session-of-the-battery"),
     all_of(PAGED, lambda a, r: check(a["total"] == 1, a)), plain=401, bad=lambda w: (query(), 400))


def some_call(w):
    found = w.server.client.get("/spend/logs", params={"limit": 1}, headers={"authorization": f"Bearer {KEY}"})
    return {"request_id": found.json()[0]["request_id"]}


case("GET /spend/logs/ui/{request_id}", some_call, {"messages", "response", "proxy_server_request"}, bad=lambda w: ({"request_id": "no-such"}, 404))
case("GET /global/spend", None, lambda a, r: check(a["spend"] > 0 and "max_budget" in a, a), bad=SOON)
case("GET /global/spend/logs", None, lambda a, r: check(a[-1]["spend"] > 0, a), bad=SOON)
case("GET /global/spend/keys", None, lambda a, r: check({"api_key", "key_alias", "total_spend"} <= set(a[0]), a), bad=SOON)
case("GET /global/spend/models", None, lambda a, r: check(a[0]["total_spend"] > 0, a), bad=SOON)
case("GET /global/spend/provider", None, lambda a, r: check(a[0]["provider"] == "openai", a), bad=SOON)
case("GET /global/spend/teams", None, {"daily_spend", "teams", "total_spend_per_team"}, bad=SOON)
case("GET /global/spend/tags", None, lambda a, r: check("battery" in [t["name"] for t in a["spend_per_tag"]], a), bad=SOON)
case("GET /global/spend/all_tag_names", None, lambda a, r: check("battery" in a["tag_names"], a), bad=SOON)
case("POST /global/spend/end_users", lambda w: body(), lambda a, r: check("somebody" in [u["end_user"] for u in a], a),
     bad=lambda w: (body(startTime="soon"), 400))
case("GET /global/all_end_users", None, lambda a, r: check("somebody" in a["end_users"], a), bad=SOON)
case("GET /global/spend/report", lambda w: query(group_by="api_key"), lambda a, r: check({"group_by_day", "api_keys"} <= set(a[0]), a),
     bad=lambda w: (query(group_by="colour"), 400))
case("POST /global/spend/refresh", None, {"message", "status"})
case("POST /global/spend/reset", None, {"message", "status"})
case("GET /global/activity", None, lambda a, r: check(a["sum_api_requests"] >= 2 and a["daily_data"], a), bad=SOON)
case("GET /global/activity/model", None, lambda a, r: check("m" in [m["model"] for m in a], a), bad=SOON)
case("GET /global/activity/cache_hits", None, lambda a, r: check({"api_key", "total_rows", "cache_hit_true_rows"} <= set(a[0]), a), bad=SOON)
case("GET /global/activity/exceptions", lambda w: query(model_group="m"),
     lambda a, r: check(a["sum_num_rate_limit_exceptions"] == 1 and len(a["daily_data"]) == 1, a), bad=SOON)
case("GET /global/activity/exceptions/deployment", lambda w: query(model_group="m"),
     lambda a, r: check(sum(d["sum_num_rate_limit_exceptions"] for d in a) == 1, a), bad=SOON)
DAYS = all_of({"results", "metadata"}, lambda a, r: check({"total_spend", "total_api_requests"} <= set(a["metadata"]), a))
for name, which in (("user", "user_id"), ("team", "team_ids"), ("tag", "tags"), ("customer", "end_user_ids"),
                    ("end_user", "end_user_ids"), ("organization", "organization_ids")):
    refused = {"team": 400, "organization": 403}.get(name, 401)
    case(f"GET /{name}/daily/activity", None, DAYS, plain=refused, bad=SOON)
case("POST /spend/calculate", lambda w: body(model="m", completion_response={"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
     lambda a, r: check(a["cost"] > 0, a), bad=lambda w: (body(), 400))

# Reports of one's own, and those of tags
for name, which in (("key", "api_keys"), ("user", "users"), ("team", "teams")):
    case(f"GET /{name}/spend/report", None, lambda a, r, which=which: check({"group_by_day", which} <= set(a[0]), a),
         plain=400 if name == "team" else 401, bad=SOON)
case("GET /organization/spend/report", None, list, plain=403, bad=SOON)
case("GET /team/spend/by_user", lambda w: query(team_id=w.team()), lambda a, r: check(a["team_id"] == r["query"]["team_id"] and a["results"] == [], a),
     plain=403, bad=lambda w: (query(), 400))
case("GET /tag/distinct", None, {"results"})
ACTIVE = lambda a, r: check("battery" in [t["tag"] for t in a["results"]] and {"active_users", "date", "period_start"} <= set(a["results"][0]), a)
for name in ("dau", "wau", "mau"):
    case(f"GET /tag/{name}", lambda w: query(tag_filter="batt"), ACTIVE)
case("GET /tag/summary", lambda w: query(start_date="2020-01-01", end_date="2100-01-01", tag_filters="battery"),
     lambda a, r: check(a["results"][0]["total_requests"] >= 1 and a["results"][0]["unique_users"] == 1, a), bad=lambda w: (query(), 400))
case("GET /tag/user-agent/per-user-analytics", lambda w: query(tag_filters="battery"),
     lambda a, r: check(a["total_count"] == 1 and a["results"][0]["total_requests"] >= 1, a))
LISTED = {"data", "meta", "links"}
case("GET /management/v1/budgets", lambda w: {"query": {"q": w.budget(max_budget=7), "filter[max_budget][gte]": 6, "sort": "-max_budget"}},
     all_of(LISTED, lambda a, r: check(len(a["data"]) == 1 and a["data"][0]["max_budget"] == 7, a)),
     bad=lambda w: ({"query": {"filter[max_budget][gte]": "much"}}, 400))
WINDOW = {"filter[startTime][gte]": "2020-01-01T00:00:00Z", "filter[startTime][lte]": "2100-01-01T00:00:00Z"}
case("GET /management/v1/spend_logs/end_users", lambda w: {"query": {**WINDOW, "q": "Some"}},
     all_of(LISTED, lambda a, r: check(a["data"] == ["somebody"], a)), bad=lambda w: (query(), 400))
case("GET /management/v1/spend_logs/users", lambda w: {"query": WINDOW}, all_of(LISTED, lambda a, r: check(a["data"], a)),
     bad=lambda w: ({"query": {**WINDOW, "colour": "red"}}, 400))
case("POST /cost/estimate", lambda w: body(model="m", input_tokens=10, output_tokens=5, num_requests_per_day=100),
     lambda a, r: check(abs(a["daily_cost"] - 100 * (10 * 0.001 + 5 * 0.002)) < 1e-9 and a["monthly_cost"] is None, a),
     bad=lambda w: (body(model="nobody-knows-this"), 400))
case("GET /callbacks/list", None, {"success", "failure", "success_and_failure"})
case("GET /router/fields", None, lambda a, r: check("num_retries" in [f["field_name"] for f in a["fields"]], a))
case("GET /config/pass_through_endpoints/settings", None, lambda a, r: check("target" in [f["field_name"] for f in a], a))
case("PATCH /v2/organization/{organization_id}", lambda w: {"organization_id": w.organization(), "body": {"organization_alias": "renamed"}},
     lambda a, r: check(a["organization_alias"] == "renamed", a), plain=403, bad=lambda w: ({"organization_id": "no-such", "body": {}}, 404))
PRICED = lambda a, r: check(a["gpt-4o"]["input_cost_per_token"] > 0 and a["gpt-4o"]["litellm_provider"] == "openai", list(a)[:3])
case("GET /get/litellm_model_cost_map", None, PRICED)
case("GET /public/litellm_model_cost_map", None, PRICED, plain=200)

# What the gateway says of itself
case("GET /", None, {"message", "version"}, plain=200)
case("GET /routes", None, {"routes"}, plain=200)
case("GET /test", None, {"route"}, plain=200)
case("GET /openapi.json", None, {"openapi", "paths"}, plain=200)
case("GET /docs", None, str, plain=200)
case("GET /health", lambda w: query(model="m"), {"healthy_count", "unhealthy_count"}, plain=200)
case("POST /utils/token_counter", lambda w: body(model="m", prompt="hello"), lambda a, r: check(a["total_tokens"] >= 1, a), plain=200,
     bad=lambda w: (body(prompt="hello"), 400))
case("GET /utils/supported_openai_params", lambda w: query(model="m"), {"supported_openai_params"}, plain=200, bad=lambda w: (query(), 400))
case("POST /utils/transform_request", lambda w: body(call_type="completion", request_body={"model": "m", "messages": [{"role": "user", "content": "x"}]}),
     {"raw_request_body", "raw_request_api_base"}, plain=200, bad=lambda w: (body(call_type="dance", request_body={"model": "m"}), 400))

# /v1/access_group, and its other name
GROUP = {"access_group_id", "access_group_name", "description", "access_model_names", "access_mcp_server_ids", "access_agent_ids",
         "assigned_team_ids", "assigned_key_ids", "created_at", "created_by", "updated_at", "updated_by"}
for base in ("/v1/access_group", "/v1/unified_access_group"):
    one = base + "/{access_group_id}"
    case(f"POST {base}", lambda w: body(access_group_name=w.name(), access_model_names=["m"], assigned_team_ids=[w.team()]),
         all_of(GROUP, sent("access_model_names"), sent("assigned_team_ids")),
         bad=lambda w: (body(access_group_name=w.name(), assigned_team_ids=["no-such-team"]), 400))
    STATUS[f"POST {base}"] = 201
    case(f"GET {base}", lambda w: (w.unified_group(), {})[1], lambda a, r: check(GROUP <= set(a[0]), a))
    case(f"GET {one}", lambda w: {"access_group_id": w.unified_group()}, lambda a, r: check(a["access_group_id"] == r["access_group_id"], a),
         bad=lambda w: ({"access_group_id": "no-such-group"}, 404))
    case(f"PUT {one}", lambda w: {"access_group_id": w.unified_group(), **body(description="new", access_model_names=None)},
         lambda a, r: check(a["description"] == "new" and a["access_model_names"] == [], a),
         bad=lambda w: ({"access_group_id": w.unified_group(), **body(access_model_names="m")}, 400))
    case(f"DELETE {one}", lambda w: {"access_group_id": w.unified_group()}, bad=lambda w: ({"access_group_id": "no-such-group"}, 404))
    STATUS[f"DELETE {one}"] = 204

# /jwt/key/mapping
MAPPING = {"id", "jwt_claim_name", "jwt_claim_value", "jwt_issuer", "description", "is_active", "created_at", "updated_at", "created_by",
           "updated_by"}
NO_MAPPING = lambda w: (body(id="no-such-mapping"), 404)
case("POST /jwt/key/mapping/new", lambda w: body(jwt_claim_name="client_id", jwt_claim_value=w.name(), key=w.key(), description="d"),
     all_of(MAPPING, sent("jwt_claim_value"), lambda a, r: check(a["jwt_issuer"] is None and "token" not in a, a)), plain=403,
     bad=lambda w: (body(jwt_claim_name="client_id", jwt_claim_value=w.name(), key="sk-nobody-has-this"), 400))
case("POST /jwt/key/mapping/update", lambda w: body(id=w.mapping(), description="new", is_active=False),
     all_of(MAPPING, sent("description"), sent("is_active")), plain=403, bad=NO_MAPPING)
case("POST /jwt/key/mapping/delete", lambda w: body(id=w.mapping()), lambda a, r: check(a == {"status": "success"}, a), plain=403,
     bad=NO_MAPPING)
case("GET /jwt/key/mapping/list", lambda w: (w.mapping(), query(size=1))[1],
     lambda a, r: check(len(a["mappings"]) == 1 and a["total_count"] >= 1 and a["current_page"] == 1, a), plain=403)
case("GET /jwt/key/mapping/info", lambda w: query(id=w.mapping()), all_of(MAPPING, lambda a, r: check(a["id"] == r["query"]["id"], a)),
     plain=403, bad=lambda w: (query(id="no-such-mapping"), 404))

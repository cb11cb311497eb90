"""The OpenAPI document: what is served is what is committed, and every route in it is there."""

import json
from pathlib import Path

from gateway import KEY, config, entry

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_openapi_json(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"master_key": KEY}))
    answer = server.client.get("/openapi.json")
    assert answer.status_code == 200, "it needs no key"
    document = answer.json()
    assert document == json.loads(COMMITTED.read_text())
    assert document["openapi"].startswith("3.") and len(document["paths"]) > 200
    body = document["paths"]["/key/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["max_budget"] == {"type": ["number", "null"]} and "duration" in body["properties"]


def test_routes(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"master_key": KEY}))
    routes = {(r["path"], m) for r in server.client.get("/routes").json()["routes"] for m in r["methods"]}
    assert {("/key/generate", "POST"), ("/v1/chat/completions", "POST"), ("/openapi.json", "GET")} <= routes


def test_docs(gateway, upstream):
    server = gateway(config(entry("m", upstream), general={"master_key": KEY}))
    page = server.client.get("/docs")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "/key/generate" in page.text and "src=" not in page.text, "nothing is loaded from elsewhere"

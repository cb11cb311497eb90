"""Background health checks, by the names of their parameters."""

import time


import canned
from gateway import config, entry, eventually
from mock import Answer, Hang

FAILS = Answer(500, canned.error("down"))
WELL = Answer(body=canned.chat())


def probes(upstream):
    return [r for r in upstream.requests if r.body and r.json.get("max_tokens") == 1]


def state(server, model):
    return next(d for d in router_state(server) if d["id"] == model)


def general(**more):
    return {"master_key": "sk-e2e-master", "health_check_interval": 1, **more}


def authorized(server, path):
    with server.new_client() as client:
        return client.get(path, headers={"authorization": "Bearer sk-e2e-master"})


def router_state(server):
    return authorized(server, "/router/state").json()["deployments"]


def test_background_health_checks(gateway, upstreams):
    bad, good, spare = upstreams(), upstreams(), upstreams()
    bad.answer(FAILS)
    made = config(entry("m", bad, info={"id": "bad"}), entry("m", good, info={"id": "good"}), entry("spare", spare),
                  general=general(), router={"fallbacks": [{"m": ["spare"]}], "num_retries": 3, "disable_cooldowns": True})
    server = gateway(made)
    eventually(lambda: state(server, "bad")["state"] == "unhealthy")
    assert state(server, "good")["state"] == "in rotation"
    assert len(probes(bad)) >= 1 and "disable_fallbacks" not in probes(bad)[0].json
    before = [r for r in bad.requests if r.json.get("max_tokens") != 1]
    for _ in range(20):
        assert server.chat(key="sk-e2e-master").status_code == 200
    assert len([r for r in bad.requests if r.json.get("max_tokens") != 1]) == len(before), "routed around"
    bad.answer(WELL)
    eventually(lambda: state(server, "bad")["state"] == "in rotation")


def test_the_last_deployment_is_used_although_it_is_unhealthy(gateway, upstream):
    upstream.answer(FAILS)
    server = gateway(config(entry("m", upstream, info={"id": "bad"}), general=general()))
    eventually(lambda: state(server, "bad")["state"] == "unhealthy")
    upstream.answer(WELL)
    assert server.chat(key="sk-e2e-master").status_code == 200


def test_background_health_checks_off(gateway, upstream):
    server = gateway(config(entry("m", upstream), general=general(background_health_checks=False)))
    time.sleep(2.5)
    assert not upstream.requests
    assert authorized(server, "/health").json()["healthy_count"] == 1
    assert len(upstream.requests) == 1, "without them /health calls now"


def test_health_check_interval(gateway, upstream):
    server = gateway(config(entry("m", upstream), general=general(health_check_interval=1)))
    eventually(lambda: len(probes(upstream)) >= 2)
    gap = probes(upstream)[1].at - probes(upstream)[0].at
    assert 0.9 < gap < 3, gap
    first = authorized(server, "/health").json()["healthy_endpoints"][0]
    assert 0 <= first["checked_seconds_ago"] < 3


def test_health_check_details(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(FAILS)
    entries = [entry("m", bad, info={"id": "bad"}), entry("m", good, info={"id": "good"}, rpm=100)]
    report = authorized(gateway(config(*entries, general=general(health_check_interval=300))), "/health").json()
    healthy, unhealthy = report["healthy_endpoints"][0], report["unhealthy_endpoints"][0]
    assert (healthy["model_id"], healthy["remaining_rpm"]) == ("good", 99) and healthy["latency_ms"] > 0
    assert "down" in unhealthy["error"] and "sk-upstream-key" not in str(report)
    made = config(*entries, general=general(health_check_interval=300, health_check_details=False))
    assert authorized(gateway(made), "/health").json() == {"healthy_count": 1, "unhealthy_count": 1}


def test_enable_health_check_routing(gateway, upstream):
    upstream.answer(FAILS)
    server = gateway(config(entry("m", upstream, info={"id": "bad"}), general=general(enable_health_check_routing=False)))
    eventually(lambda: authorized(server, "/health").json()["unhealthy_count"] == 1)
    assert state(server, "bad")["state"] == "in rotation", "found, and not acted on"


def test_health_check_model(gateway, upstream):
    made = config(entry("openai/*", upstream, model="openai/*", info={"health_check_model": "openai/small"}),
                  general=general(health_check_interval=300))
    assert authorized(gateway(made), "/health").json()["healthy_count"] == 1
    assert upstream.only.json["model"] == "small"


def test_health_check_timeout(gateway, upstream):
    upstream.answer(Hang())
    made = config(entry("m", upstream, info={"health_check_timeout": 0.5}), general=general(health_check_interval=300))
    began = time.monotonic()
    report = authorized(gateway(made), "/health").json()
    assert report["unhealthy_count"] == 1 and time.monotonic() - began < 5
    assert "0.5 s" in report["unhealthy_endpoints"][0]["error"]


def test_mode_decides_the_probe(gateway, upstream):
    made = config(entry("e", upstream, info={"mode": "embedding"}), entry("t", upstream, info={"mode": "audio_transcription"}),
                  general=general(health_check_interval=300))
    report = authorized(gateway(made), "/health").json()
    assert report["healthy_count"] == 1 and report["unhealthy_count"] == 0
    assert upstream.only.path == "/v1/embeddings", "there is no small call for the other"


def test_supported_environments(gateway, upstreams):
    here, there = upstreams(), upstreams()
    made = config(entry("m", here, info={"supported_environments": ["staging", "production"]}),
                  entry("m", there, info={"supported_environments": ["development"]}), entry("other", there))
    server = gateway(made, env={"LITELLM_ENVIRONMENT": "production"})
    for _ in range(10):
        assert server.chat().status_code == 200
    assert len(here.requests) == 10 and not there.requests


def test_ignore_invalid_deployments(gateway, upstream):
    broken = entry("m", upstream, model="azure/x", api_version=None)
    del broken["litellm_params"]["api_base"]
    made = config(broken, entry("m", upstream), router={"ignore_invalid_deployments": True})
    server = gateway(made)
    for _ in range(20):
        assert server.chat().status_code == 200

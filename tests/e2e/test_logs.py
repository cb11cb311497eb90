"""What is written down: an access log, debug output, and never a secret."""

import json
import time

import pytest

import canned
from gateway import config, entry
from mock import Answer

CANARIES = ["sk-canary-upstream-0123", "sk-canary-master-0123", "sk-canary-client-0123", "canary-header-0123", "canary-env-0123",
            "sk-canary-wrong-0123", "canary-azure-0123"]


def canary_config(upstream, **litellm):
    return config(
        entry("m", upstream, api_key=CANARIES[0], extra_headers={"X-Secret": "canary-header-0123"}),
        entry("env", upstream, api_key="os.environ/UPSTREAM_KEY"),
        entry("azure", upstream.url, model="azure/d", api_version="2024-10-21", azure_ad_token="canary-azure-0123", api_key=None),
        general={"master_key": CANARIES[1]}, litellm=litellm)


def provoke(server, upstream):
    """Every way in which a secret could reach a log."""
    key = CANARIES[1]
    server.chat(key=key)
    server.chat("env", key=key)
    server.chat("azure", key=key)
    server.chat(key=key, stream=True)
    server.chat(key=CANARIES[5])
    server.chat(headers={"x-api-key": CANARIES[5]})
    server.client.get("/v1/models?key=" + CANARIES[5])
    server.chat(key=key, api_key=CANARIES[2])
    server.chat(key=key, headers={"authorization": f"Bearer {key}", "x-openai-key": CANARIES[2]})
    server.post("/v1/chat/completions", key=key, content=b'{"model":"m","api_key":"' + CANARIES[2].encode() + b'"')
    upstream.answer(Answer(401, canned.error(f"Incorrect API key provided: {CANARIES[0]}")))
    server.chat(key=key)
    upstream.answer(Answer(500, canned.error(f"Bearer {CANARIES[0]} is wrong")))
    server.chat(key=key, stream=True)
    server.client.get("/health", headers={"authorization": f"Bearer {key}"})
    for path in ("/model/info", "/model_group/info", "/v1/models", "/health/readiness"):
        text = server.client.get(path, headers={"authorization": f"Bearer {key}"}).text
        assert not [c for c in CANARIES if c in text], path
    server.reload()
    time.sleep(0.5)


@pytest.mark.parametrize("how", ["plain", "set_verbose", "json_logs", "debug", "detailed_debug", "verbose_json"])
def test_no_secret_in_any_output(gateway, upstream, how):
    settings = {"set_verbose": {"set_verbose": True}, "json_logs": {"json_logs": True},
                "verbose_json": {"set_verbose": True, "json_logs": True}}.get(how, {})
    flags = {"debug": ["--debug"], "detailed_debug": ["--detailed_debug"]}.get(how, [])
    server = gateway(canary_config(upstream, **settings), *flags, env={"UPSTREAM_KEY": "canary-env-0123"})
    provoke(server, upstream)
    server.terminate()
    found = [canary for canary in CANARIES if canary in server.log]
    assert not found, found


def test_no_prompt_in_the_log_by_default(gateway, upstream):
    server = gateway(config(entry("m", upstream)))
    upstream.answer(Answer(body=canned.chat("secret-answer-text")))
    server.chat(content="secret-prompt-text")
    upstream.answer(Answer(500, canned.error("oops")))
    server.chat(content="secret-prompt-text")
    server.terminate()
    assert "secret-prompt-text" not in server.log and "secret-answer-text" not in server.log


def test_access_log(gateway, upstream):
    server = gateway(config(entry("m", upstream)))
    answer = server.chat(headers={"x-litellm-call-id": "find-me-in-the-log"})
    assert answer.status_code == 200
    line = server.wait_log(r"^.*find-me-in-the-log.*$").group(0)
    assert "200" in line and "/v1/chat/completions" in line and "m" in line


def test_access_log_of_errors(gateway, upstream):
    server = gateway(config(entry("m", upstream)))
    upstream.answer(Answer(503, canned.error("down")))
    server.chat(headers={"x-litellm-call-id": "the-failed-one"})
    assert "503" in server.wait_log(r"^.*the-failed-one.*$").group(0)


def test_log_lines_cannot_be_forged(gateway, upstream):
    server = gateway(config(entry("m", upstream)))
    server.chat("x\nlevel=error what=forged")
    server.chat("m", headers={"x-litellm-call-id": "a\tb", "user-agent": "x\ty level=error"})
    server.post("/v1/x%20y?a=%0aforged", {})
    server.terminate()
    assert not [line for line in server.log.splitlines() if line.startswith("level=error what=forged")]


def test_log_that_nobody_reads_does_not_block(upstream, tmp_path):
    """stdout is a pipe that is full: requests are served all the same."""
    import os
    import subprocess

    from gateway import BINARY, CLEAN, DRIVER, free_port
    import httpx
    import yaml

    port = free_port()
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config(entry("m", upstream), litellm={"set_verbose": True})))
    read, write = os.pipe()
    process = subprocess.Popen([BINARY, "--config", path, "--port", str(port), "--host", "127.0.0.1"]
                               + (["--io-driver", DRIVER] if DRIVER != "auto" else []),
                               stdout=write, stderr=write, stdin=subprocess.DEVNULL, env=CLEAN)
    os.close(write)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=5) as client:
            until = time.monotonic() + 10
            while True:
                try:
                    client.get("/health/liveliness")
                    break
                except httpx.TransportError:
                    assert time.monotonic() < until
                    time.sleep(0.02)
            body = {"model": "m", "messages": [{"role": "user", "content": "x" * 1000}]}
            for _ in range(1500):
                assert client.post("/v1/chat/completions", json=body).status_code == 200
    finally:
        process.kill()
        process.wait(10)
        os.close(read)


def test_json_logs_are_one_object_a_line(gateway, upstream):
    server = gateway(config(entry("m", upstream), litellm={"json_logs": True, "set_verbose": True}))
    server.chat(content='a "quoted" \n text 🚀')
    server.chat("nope")
    server.reload("model_list: [")
    time.sleep(0.5)
    server.terminate()
    for line in server.log.splitlines():
        assert isinstance(json.loads(line), dict), line

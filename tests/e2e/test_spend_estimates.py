"""What is billed where nobody counted: answers without usage, wherever they go through, and calls that were
sent and not waited for. Their providers are paid all the same."""

import json
import sqlite3
import time

import pytest

import canned
from gateway import KEY, config, entry, get, made_key, request
from mock import Answer, Hang

PRICE = 0.001
GENERAL = {"master_key": KEY, "proxy_batch_write_at": 0.1}


def costly(name, upstream, **more):
    return entry(name, upstream, input_cost_per_token=PRICE, output_cost_per_token=PRICE, **more)


def rows(server, count, seconds=10):
    """The rows, oldest first, as soon as there are so many."""
    path, until = server.folder / "shardgate.db", time.monotonic() + seconds
    while True:
        with sqlite3.connect(path) as database:
            database.row_factory = sqlite3.Row
            found = database.execute('select * from "LiteLLM_SpendLogs" order by "startTime"').fetchall()
        if len(found) >= count or time.monotonic() > until:
            assert len(found) == count, [dict(row) for row in found]
            return [{**dict(row), "metadata": json.loads(row["metadata"])} for row in found]
        time.sleep(0.05)


def spent(server, key):
    return get(server, "/key/info", key=key)["info"]["spend"]


def without_usage(text="12345678"):
    body = canned.chat(text)
    del body["usage"]
    return Answer(body=body)


def test_an_answer_without_usage(gateway, upstream):
    upstream.answer(without_usage())
    server = gateway(config(costly("m", upstream), general=GENERAL))
    answer = server.chat()
    assert answer.status_code == 401
    answer = server.chat(key=KEY, content="x" * 400)
    row = rows(server, 1)[0]
    assert row["prompt_tokens"] >= 100 and row["completion_tokens"] == 2, "a token for four letters"
    assert row["spend"] == pytest.approx((row["prompt_tokens"] + 2) * PRICE)
    assert float(answer.headers["x-litellm-response-cost"]) == pytest.approx(row["spend"])


def test_answers_without_usage_of_a_list_of_models(gateway, upstreams):
    first, second = upstreams(), upstreams()
    first.answer(without_usage())
    second.answer(Answer(body=canned.chat()))
    server = gateway(config(costly("a", first), costly("b", second), general=GENERAL))
    assert len(server.chat("a,b", key=KEY, content="x" * 400).json()) == 2
    found = {row["model_group"]: row for row in rows(server, 2)}
    assert found["a"]["prompt_tokens"] >= 100 and found["a"]["completion_tokens"] == 2
    assert found["a"]["spend"] > 0.1
    assert found["b"]["total_tokens"] == canned.USAGE["total_tokens"]


def test_answers_without_usage_of_the_cache(gateway, upstream):
    upstream.answer(without_usage())
    server = gateway(config(costly("m", upstream), general=GENERAL, router={"cache_responses": True}), "--num_workers", "1")
    for _ in range(2):
        assert server.chat(key=KEY, content="x" * 400).status_code == 200
    first, again = rows(server, 2)
    assert len(upstream.requests) == 1 and again["cache_hit"] == "True"
    assert first["spend"] > 0.1 and again["spend"] == 0
    assert again["total_tokens"] == first["total_tokens"] > 100


@pytest.mark.parametrize("path,body,answer", [
    ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "x" * 400}]}, None),
    ("/v1/responses", {"input": "x" * 400},
     {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "upstream-model", "output": [
         {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
          "content": [{"type": "output_text", "text": "12345678", "annotations": []}]}]}),
    ("/v1/completions", {"prompt": "x" * 400},
     {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "upstream-model",
      "choices": [{"index": 0, "text": "12345678", "finish_reason": "stop"}]}),
])
def test_other_answers_without_usage(gateway, upstream, path, body, answer):
    upstream.answer(Answer(body=answer) if answer else without_usage())
    server = gateway(config(costly("m", upstream), general=GENERAL))
    given = server.post(path, {"model": "m", **body}, key=KEY)
    assert given.status_code == 200, given.text
    row = rows(server, 1)[0]
    assert row["prompt_tokens"] >= 100 and row["completion_tokens"] == 2
    assert row["spend"] == pytest.approx((row["prompt_tokens"] + 2) * PRICE)


def check_cancelled(row, group):
    assert row["model_group"] == group and row["completion_tokens"] == 0
    assert row["prompt_tokens"] >= 100 and row["spend"] == pytest.approx(row["prompt_tokens"] * PRICE)
    assert row["metadata"]["error_information"] == {"error_class": "Cancelled", "error_code": "499"}


def test_a_second_call_that_lost_is_paid(gateway, upstreams):
    first, other = upstreams(), upstreams()
    entries = [costly("m", first, weight=1, info={"id": "first"}), costly("m", other, weight=0, info={"id": "other"})]
    router = {"hedging": True, "num_retries": 0}
    server = gateway(config(*entries, general=GENERAL, router=router), "--num_workers", "1")
    key = made_key(server, rpm_limit=1000, tpm_limit=1_000_000, max_budget=1000)
    for _ in range(40):
        assert server.chat(key=key).status_code == 200
    # On a slow machine one of them had a second call too.
    before = len(first.requests) + len(other.requests)
    first.answer(Hang())
    for up in (first, other):
        up.requests.clear()
    answer = server.chat(key=key, content="x" * 400)
    assert answer.status_code == 200 and len(other.requests) == len(first.requests) == 1
    *_, one, two = rows(server, before + 2)
    served, lost = (one, two) if one["model_id"] == "other" else (two, one)
    assert served["model_id"] == "other" and served["total_tokens"] == canned.USAGE["total_tokens"]
    assert lost["model_id"] == "first" and lost["litellm_call_id"] == answer.headers["x-litellm-call-id"]
    check_cancelled(lost, "m")
    assert lost["api_key"] == served["api_key"]
    # One request of the caller's, and only its answer's tokens.
    first.reset()
    other.requests.clear()
    answer = server.chat(key=key)
    assert int(answer.headers["x-ratelimit-api_key-remaining-requests"]) == 1000 - 42
    # The budget has paid for both.
    together = sum(row["spend"] for row in rows(server, before + 2 + len(first.requests) + len(other.requests)))
    assert spent(server, key) == pytest.approx(together)


def test_a_call_that_lost_the_race_is_paid(gateway, upstreams):
    slow, quick = upstreams(), upstreams()
    slow.answer(Hang())
    quick.answer(Answer(body=canned.chat(), delay_s=0.3))
    server = gateway(config(costly("a", slow), costly("b", quick), general=GENERAL))
    key = made_key(server, max_budget=1000)
    assert server.chat("a,b", key=key, content="x" * 400, fastest_response=True).status_code == 200
    found = {row["model_group"]: row for row in rows(server, 2)}
    check_cancelled(found["a"], "a")
    assert found["b"]["total_tokens"] == canned.USAGE["total_tokens"]
    assert spent(server, key) == pytest.approx(sum(row["spend"] for row in found.values()))


def test_a_call_that_failed_in_the_race_is_not(gateway, upstreams):
    bad, good = upstreams(), upstreams()
    bad.answer(Answer(500, canned.error("broken")))
    good.answer(Answer(body=canned.chat(), delay_s=0.3))
    server = gateway(config(costly("a", bad), costly("b", good), general=GENERAL, router={"num_retries": 0}))
    assert server.chat("a,b", key=KEY, fastest_response=True).status_code == 200
    found = {row["model_group"]: row for row in rows(server, 2)}
    assert found["a"]["spend"] == 0 and found["a"]["metadata"]["error_information"]["error_class"] != "Cancelled"


def test_a_client_that_leaves_before_the_answer_has_paid_its_prompt(gateway, upstream):
    upstream.answer(Hang())
    server = gateway(config(costly("m", upstream), general=GENERAL))
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}
    with server.connect() as raw:
        raw.send(request(body, headers=[("authorization", f"Bearer {KEY}")]))
        upstream.wait(1)
    row = rows(server, 1)[0]
    assert row["prompt_tokens"] >= 100 and row["spend"] == pytest.approx(row["prompt_tokens"] * PRICE)


def test_what_never_went_out_costs_nothing(gateway, upstream):
    upstream.stop()
    server = gateway(config(costly("m", upstream), general=GENERAL, router={"num_retries": 0}))
    assert server.chat(key=KEY).status_code >= 500
    assert rows(server, 1)[0]["spend"] == 0

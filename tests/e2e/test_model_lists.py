"""Several models in one request (`model: "a,b"`): a call to each; with `fastest_response` the first
answer wins and the others are closed."""

import time

import pytest

import canned
from gateway import KEY, config, entry, streamed
from mock import Answer, Hang, Stream

PRICE = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001}


def saying(text, delay_s=0.0, model="upstream-model"):
    body = canned.chat()
    body["choices"][0]["message"]["content"] = text
    return Answer(body={**body, "model": model}, delay_s=delay_s)


def word(answer):
    return answer["choices"][0]["message"]["content"]


def two(upstreams, **more):
    ups = [upstreams(), upstreams()]
    return ups, config(entry("a", ups[0]), entry("b", ups[1]), **more)


def test_each_model_answers(gateway, upstreams):
    (first, second), made = two(upstreams)
    first.answer(saying("from a", 0.3))
    second.answer(saying("from b"))
    answer = gateway(made).chat("a, b", temperature=0.5)
    assert answer.status_code == 200, answer.text
    assert [word(item) for item in answer.json()] == ["from a", "from b"], "in the order of the list"
    assert [item["model"] for item in answer.json()] == ["upstream-model"] * 2
    for up in (first, second):
        assert up.only.json["temperature"] == 0.5 and up.only.json["model"] == "upstream-model"


@pytest.mark.alone("two calls of 0.6 s within 1.1 s")
def test_calls_run_side_by_side(gateway, upstreams):
    ups, made = two(upstreams)
    for up in ups:
        up.answer(saying("late", 0.6))
    server = gateway(made)
    began = time.monotonic()
    assert len(server.chat("a,b").json()) == 2
    assert time.monotonic() - began < 1.1


def test_one_that_fails_leaves_its_error_in_its_place(gateway, upstreams):
    (first, second), made = two(upstreams)
    first.answer(Answer(500, canned.error("broken")))
    second.answer(saying("well"))
    server = gateway(made)
    answer = server.chat("a,b")
    assert answer.status_code == 200
    assert "broken" in answer.json()[0]["error"]["message"] and word(answer.json()[1]) == "well"
    second.answer(Answer(503, canned.error("broken too")))
    answer = server.chat("a,b")
    assert answer.status_code == 500 and "broken" in answer.json()["error"]["message"]


def test_fastest_response(gateway, upstreams):
    (slow, quick), made = two(upstreams)
    slow.answer(Hang())
    quick.answer(saying("first", 0.3))
    server = gateway(made)
    began = time.monotonic()
    answer = server.chat("a,b", fastest_response=True)
    assert answer.status_code == 200 and word(answer.json()) == "first"
    assert answer.json()["model"] == "b" and answer.headers["x-litellm-model-group"] == "b"
    assert answer.headers["x-litellm-fastest_response_batch_completion"] == "True"
    assert time.monotonic() - began < 2
    assert slow.only.gone.wait(2), "the other call is closed at once"
    assert "fastest_response" not in quick.only.json


def test_fastest_response_passes_over_failures(gateway, upstreams):
    (bad, good), made = two(upstreams)
    bad.answer(Answer(500, canned.error("broken")))
    good.answer(saying("late but well", 0.3))
    server = gateway(made)
    assert word(server.chat("a,b", fastest_response=True).json()) == "late but well"
    good.answer(Answer(500, canned.error("broken as well")))
    assert server.chat("a,b", fastest_response=True).status_code == 500


def test_fastest_response_of_streams(gateway, upstreams):
    (slow, quick), made = two(upstreams)
    slow.answer(Stream(canned.chat_events(), first_delay_s=5))
    quick.answer(Stream(canned.chat_events(), first_delay_s=0.3))
    server = gateway(made)
    answer = server.chat("a,b", stream=True, fastest_response=True)
    assert answer.status_code == 200 and answer.text.endswith("data: [DONE]\n\n")
    assert streamed(answer)[0]["model"] == "b"
    assert slow.only.gone.wait(2)
    assert len(quick.requests) == 1


def test_what_is_no_list_to_serve(gateway, upstreams):
    ups, made = two(upstreams)
    server = gateway(made)
    for model, body, says in (("a,b", {"stream": True}, "fastest_response"), ("a,nowhere", {}, "nowhere"),
                              ("a,", {}, "empty name"), (",".join(f"m{n}" for n in range(17)), {}, "at most 16")):
        answer = server.chat(model, **body)
        assert answer.status_code == 400 and says in answer.text, answer.text
    assert not ups[0].requests and not ups[1].requests
    assert server.chat("a,a").json()[0]["object"] == "chat.completion" and len(ups[0].requests) == 1


def test_the_client_leaves(gateway, upstreams):
    ups, made = two(upstreams)
    for up in ups:
        up.answer(Hang())
    server = gateway(made)
    from gateway import request
    with server.connect() as raw:
        raw.send(request({"model": "a,b", "messages": [{"role": "user", "content": "x"}]}))
        for up in ups:
            up.wait(1)
    for up in ups:
        assert up.only.gone.wait(3), "nobody wants the answers any longer"


def test_slots_are_given_back(gateway, upstreams):
    ups = [upstreams(), upstreams()]
    made = config(*[entry(name, up, max_parallel_requests=1) for name, up in zip("ab", ups)], general={"master_key": KEY})
    server = gateway(made, "--num_workers", 1)
    ups[0].answer(saying("late", 0.3))
    for fastest in (True, False, True):
        assert server.chat("a,b", fastest_response=fastest, key=KEY).status_code == 200
    state = server.client.get("/router/state", headers={"authorization": f"Bearer {KEY}"}).json()
    assert [d["in_flight"] for d in state["deployments"]] == [0, 0]


@pytest.fixture
def keyed(gateway, upstreams, tmp_path):
    ups = [upstreams(), upstreams()]
    made = config(*[entry(name, up, info=PRICE) for name, up in zip("ab", ups)], general={"master_key": KEY})
    return ups, gateway(made)


def test_each_model_must_be_allowed(keyed):
    ups, server = keyed
    key = server.post("/key/generate", {"models": ["a"]}, key=KEY).json()["key"]
    assert server.chat("a", key=key).status_code == 200
    assert server.chat("a,b", key=key).status_code == 403
    assert not ups[1].requests
    wide = server.post("/key/generate", {"models": ["a*"]}, key=KEY).json()["key"]
    assert server.chat("a,b", key=wide).status_code == 403, "a pattern that fits the whole text fits no single name"
    assert len(ups[0].requests) == 1


def test_all_calls_are_paid(keyed):
    ups, server = keyed
    key = server.post("/key/generate", {}, key=KEY).json()["key"]
    cost = float(server.chat("a", key=key).headers["x-litellm-response-cost"])
    assert cost > 0
    assert len(server.chat("a,b", key=key).json()) == 2
    until = time.monotonic() + 10
    while (spend := server.client.get("/key/info", params={"key": key}, headers={"authorization": f"Bearer {KEY}"}).json()["info"]["spend"]) < 2.9 * cost:
        assert time.monotonic() < until, (spend, cost)
        time.sleep(0.1)
    assert spend == pytest.approx(3 * cost)
    rows = server.client.get("/spend/logs", headers={"authorization": f"Bearer {KEY}"}).json()
    assert sorted(row["model_group"] for row in rows) == ["a", "a", "b"]

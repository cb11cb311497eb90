"""Prices of model_list[].litellm_params and model_info, each by its name: what `x-litellm-response-cost` says."""

import time

import pytest

import canned
from gateway import config
from mock import Answer


def serve(gateway, upstream, params, info=None, model="openai/nobody-lists-this"):
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
             "prompt_tokens_details": {"cached_tokens": 40}}
    upstream.answer(Answer(body={**canned.chat(), "usage": usage}))
    entry = {"model_name": "m", "litellm_params": {"model": model, "api_base": upstream.url, "api_key": "k", **params}}
    if info:
        entry["model_info"] = info
    return gateway(config(entry))


def cost(server):
    return float(server.chat().headers["x-litellm-response-cost"])


def test_cache_read_input_token_cost(gateway, upstream):
    prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 1e-7}
    assert cost(serve(gateway, upstream, prices)) == pytest.approx(60 * 1e-6 + 40 * 1e-7 + 10 * 2e-6, rel=1e-9)


def test_cache_creation_input_token_cost(gateway, upstream):
    prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 1e-7,
              "cache_creation_input_token_cost": 5e-6}
    upstream.answer(Answer(body={
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hi"}],
        "usage": {"input_tokens": 50, "output_tokens": 10, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 20}}))
    server = gateway(config({"model_name": "m", "litellm_params": {
        "model": "anthropic/nobody-lists-this", "api_base": upstream.url, "api_key": "k", **prices}}))
    assert cost(server) == pytest.approx(50 * 1e-6 + 30 * 5e-6 + 20 * 1e-7 + 10 * 2e-6, rel=1e-9)


@pytest.mark.parametrize("where", ["litellm_params", "model_info"])
def test_base_model(gateway, upstream, where):
    named = {"base_model": "gpt-4o"}
    params, info = (named, None) if where == "litellm_params" else ({}, named)
    server = serve(gateway, upstream, {"api_version": "v1", **params}, info, model="azure/a-name-of-our-own")
    assert cost(server) == pytest.approx(60 * 2.5e-6 + 40 * 1.25e-6 + 10 * 1e-5, rel=1e-9)


@pytest.mark.parametrize("name", ["input_cost_per_second", "output_cost_per_second"])
@pytest.mark.parametrize("where", ["litellm_params", "model_info"])
def test_input_cost_per_second_and_output_cost_per_second(gateway, upstream, name, where):
    params, info = ({name: 0.1}, None) if where == "litellm_params" else ({}, {name: 0.1})
    server = serve(gateway, upstream, params, info)
    upstream.answer(Answer(body=canned.chat(), delay_s=0.5))
    began = time.monotonic()
    billed = cost(server)
    assert 0.05 <= billed <= 0.1 * (time.monotonic() - began), "the time that the upstream took"


def test_max_output_tokens(gateway, upstream):
    """Answered by /model/info and /model_group/info; the largest of a group's."""
    entries = [{"model_name": "m", "litellm_params": {"model": "openai/nobody-lists-this", "api_base": upstream.url, "api_key": "k"},
                "model_info": {"max_output_tokens": tokens}} for tokens in (1234, 4321)]
    server = gateway(config(*entries))
    told = server.client.get("/model/info").json()["data"]
    assert sorted(model["model_info"]["max_output_tokens"] for model in told) == [1234, 4321]
    assert server.client.get("/model_group/info").json()["data"][0]["max_output_tokens"] == 4321

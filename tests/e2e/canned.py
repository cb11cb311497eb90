"""What an OpenAI-compatible host answers when a test has not said otherwise."""

import json
import uuid

USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def chat(content="Hello there!", model="upstream-model", **message):
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion", "created": 1700000000, "model": model,
        "choices": [{
            "index": 0, "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
            "message": {"role": "assistant", "content": content, **message},
        }],
        "usage": USAGE, "system_fingerprint": "fp_canned",
    }


def chunk(delta, model="upstream-model", finish=None, **extra):
    return {
        "id": "chatcmpl-canned", "object": "chat.completion.chunk", "created": 1700000000, "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **extra,
    }


def event(payload):
    text = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    return f"data: {text}\n\n"


def chat_events(words=("Hel", "lo ", "there", "!"), usage=False, model="upstream-model"):
    """A stream's events, role chunk first, [DONE] last."""
    events = [event(chunk({"role": "assistant", "content": ""}, model))]
    events += [event(chunk({"content": word}, model)) for word in words]
    events.append(event(chunk({}, model, finish="stop")))
    if usage:
        last = chunk({}, model)
        last["choices"], last["usage"] = [], USAGE
        events.append(event(last))
    events.append(event("[DONE]"))
    return events


def error(message="scripted failure", type="invalid_request_error", param=None, code=None):
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def answer(request):
    """The answer for a request nobody scripted."""
    from mock import Answer, Stream

    path = request.path
    body = {}
    if (request.header("content-type") or "").startswith("application/json") and request.body:
        body = json.loads(request.body)
    if path.endswith("/chat/completions"):
        if body.get("stream"):
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            return Stream(chat_events(usage=usage, model=body.get("model", "upstream-model")))
        return Answer(body=chat(model=body.get("model", "upstream-model")))
    if path.endswith("/completions"):
        return Answer(body={
            "id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": 1700000000,
            "model": body.get("model", "upstream-model"),
            "choices": [{"index": 0, "text": " world", "finish_reason": "stop", "logprobs": None}], "usage": USAGE,
        })
    if path.endswith("/embeddings"):
        return Answer(body={
            "object": "list", "model": body.get("model", "upstream-model"),
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.25, 0.5]}],
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        })
    if "/images/" in path:
        return Answer(body={"created": 1700000000, "data": [{"b64_json": "aGVsbG8="}]})
    if path.endswith(("/audio/transcriptions", "/audio/translations")):
        return Answer(body={"text": "hello from audio"})
    if path.endswith("/audio/speech"):
        return Stream([b"ID3" + bytes(range(256)) * 16, b"\x00\xff" * 512], headers={"content-type": "audio/mpeg"})
    if path.endswith("/moderations"):
        return Answer(body={
            "id": "modr-canned", "model": body.get("model", "omni-moderation-latest"),
            "results": [{"flagged": False, "categories": {"hate": False}, "category_scores": {"hate": 0.01}}],
        })
    if path.endswith("/rerank"):
        return Answer(body={
            "id": "rerank-canned", "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}],
            "meta": {"billed_units": {"search_units": 1}},
        })
    if path.endswith("/responses"):
        return responses(body)
    if path.endswith("/models"):
        return Answer(body={"object": "list", "data": []})
    return Answer(404, error(f"no such path {path}", code="not_found"))


def responses(body):
    from mock import Answer, Stream

    whole = {
        "id": "resp_canned", "object": "response", "created_at": 1700000000, "status": "completed",
        "model": body.get("model", "upstream-model"), "error": None, "incomplete_details": None, "instructions": None,
        "metadata": {}, "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "output": [{
            "type": "message", "id": "msg_canned", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello there!", "annotations": []}],
        }],
        "usage": {
            "input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
        },
    }
    if not body.get("stream"):
        return Answer(body=whole)
    started = {**whole, "status": "in_progress", "output": [], "usage": None}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": started},
        {"type": "response.output_text.delta", "sequence_number": 1, "item_id": "msg_canned", "output_index": 0,
         "content_index": 0, "delta": "Hello ", "logprobs": []},
        {"type": "response.output_text.delta", "sequence_number": 2, "item_id": "msg_canned", "output_index": 0,
         "content_index": 0, "delta": "there!", "logprobs": []},
        {"type": "response.completed", "sequence_number": 3, "response": whole},
    ]
    return Stream([f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events])

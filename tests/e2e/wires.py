"""Four providers on one mock, each on its own wire: OpenAI's chat, Anthropic's messages, Google's
generateContent, Bedrock's converse with its binary events. A request with tools whose last turn is no tool result gets a call of the first tool
with {"city": "Paris"}, every other one "Hello there!"; streamed when asked. The host knows nothing of
the gateway: it answers as the providers' documentation says."""

import json
import struct
from zlib import crc32

import canned
from gateway import entry
from mock import Answer, Call, Stream

WORDS = ["Hello", " there", "!"]
TEXT = "".join(WORDS)
ARGUMENTS = {"city": "Paris"}
# Input and output tokens of every answer, whatever the wire.
TOKENS = (11, 7)


def entries(upstream):
    """One model for each wire, named after it."""
    return [
        entry("openai", upstream, model="openai/gpt-4o"),
        entry("anthropic", upstream.url, model="anthropic/claude-sonnet-4-5"),
        entry("gemini", upstream.url + "/v1beta", model="gemini/gemini-2.5-flash"),
        entry("bedrock", upstream.url, model="bedrock/anthropic.claude-3-5-sonnet-20241022-v2:0", api_key=None,
              aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret-of-aws", aws_region_name="us-west-2"),
    ]


MODELS = ["openai", "anthropic", "gemini", "bedrock"]


def arm(upstream):
    """The mock answers on all three wires from now on."""
    upstream.answer(script())


def script():
    """An answer on whichever wire it is asked."""
    return Call(lambda connection, request: answer(request).play(connection, request))


def answer(request):
    body = json.loads(request.body) if request.body else {}
    path = request.path
    if path.endswith("/chat/completions"):
        return openai(body)
    if path.endswith("/messages"):
        return anthropic(body)
    if path.endswith("/count_tokens"):
        return Answer(body={"input_tokens": 42})
    if path.endswith(":generateContent"):
        return gemini(body, stream=False)
    if path.endswith(":streamGenerateContent"):
        return gemini(body, stream=True)
    if path.endswith("/converse"):
        return bedrock(body, stream=False)
    if path.endswith("/converse-stream"):
        return bedrock(body, stream=True)
    if path.endswith(":countTokens"):
        return Answer(body={"totalTokens": 43})
    return canned.answer(request)


def openai(body):
    wants_call = bool(body.get("tools")) and body["messages"][-1]["role"] != "tool"
    usage = {"prompt_tokens": TOKENS[0], "completion_tokens": TOKENS[1], "total_tokens": sum(TOKENS)}
    name = body["tools"][0]["function"]["name"] if wants_call else ""
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": json.dumps(ARGUMENTS)}}
    if not body.get("stream"):
        made = canned.chat(None, tool_calls=[call]) if wants_call else canned.chat(TEXT)
        return Answer(body={**made, "usage": usage})
    deltas = [{"role": "assistant", "content": None if wants_call else ""}]
    if wants_call:
        text = json.dumps(ARGUMENTS)
        deltas.append({"tool_calls": [{"index": 0, **call, "function": {"name": name, "arguments": ""}}]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in (text[:5], text[5:])]
    else:
        deltas += [{"content": word} for word in WORDS]
    events = [canned.event(canned.chunk(delta)) for delta in deltas]
    events.append(canned.event(canned.chunk({}, finish="tool_calls" if wants_call else "stop")))
    if (body.get("stream_options") or {}).get("include_usage"):
        events.append(canned.event({**canned.chunk({}), "choices": [], "usage": usage}))
    return Stream(events + [canned.event("[DONE]")])


def anthropic(body):
    last = body["messages"][-1]["content"]
    has_result = isinstance(last, list) and any(part["type"] == "tool_result" for part in last)
    wants_call = bool(body.get("tools")) and not has_result
    if wants_call:
        block = {"type": "tool_use", "id": "toolu_1", "name": body["tools"][0]["name"], "input": ARGUMENTS}
    else:
        block = {"type": "text", "text": TEXT}
    reason = "tool_use" if wants_call else "end_turn"
    message = {
        "id": "msg_canned", "type": "message", "role": "assistant", "model": body["model"], "content": [block],
        "stop_reason": reason, "stop_sequence": None,
        "usage": {"input_tokens": TOKENS[0], "output_tokens": TOKENS[1]},
    }
    if not body.get("stream"):
        return Answer(body=message)
    text = json.dumps(ARGUMENTS)
    deltas = (
        [{"type": "input_json_delta", "partial_json": part} for part in ("", text[:5], text[5:])] if wants_call
        else [{"type": "text_delta", "text": word} for word in WORDS])
    empty = {**block, "input": {}} if wants_call else {**block, "text": ""}
    started = {**message, "content": [], "stop_reason": None, "usage": {"input_tokens": TOKENS[0], "output_tokens": 1}}
    events = [
        {"type": "message_start", "message": started},
        {"type": "content_block_start", "index": 0, "content_block": empty},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None},
         "usage": {"output_tokens": TOKENS[1]}},
        {"type": "message_stop"},
    ]
    return Stream([f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events])


def gemini(body, stream):
    turns = body["contents"]
    turns = turns if isinstance(turns, list) else [turns]
    has_result = any("functionResponse" in p or "function_response" in p for p in turns[-1]["parts"])
    functions = [f for tool in body.get("tools") or [] for f in
                 tool.get("functionDeclarations", tool.get("function_declarations", []))]
    usage = {"promptTokenCount": TOKENS[0], "candidatesTokenCount": TOKENS[1], "totalTokenCount": sum(TOKENS)}

    def event(parts, finish=None):
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
        if finish:
            candidate["finishReason"] = finish
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}

    if functions and not has_result:
        parts = [[{"functionCall": {"name": functions[0]["name"], "args": ARGUMENTS}}]]
    else:
        parts = [[{"text": word}] for word in WORDS] if stream else [[{"text": TEXT}]]
    if not stream:
        return Answer(body=event(parts[0], "STOP"))
    events = [event(part) for part in parts[:-1]] + [event(parts[-1], "STOP")]
    return Stream([f"data: {json.dumps(e)}\r\n\r\n" for e in events])


def frame(kind, payload):
    """One message of an AWS event stream."""
    body = json.dumps(payload).encode()
    headers = b""
    for name, value in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event")):
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + body
    return message + struct.pack(">I", crc32(message))


def bedrock(body, stream):
    has_result = any("toolResult" in part for part in body["messages"][-1]["content"])
    tools = (body.get("toolConfig") or {}).get("tools") or []
    usage = {"inputTokens": TOKENS[0], "outputTokens": TOKENS[1], "totalTokens": sum(TOKENS)}
    wants_call = bool(tools) and not has_result
    name = tools[0]["toolSpec"]["name"] if wants_call else ""
    reason = "tool_use" if wants_call else "end_turn"
    if not stream:
        part = {"toolUse": {"toolUseId": "tooluse_1", "name": name, "input": ARGUMENTS}} if wants_call else {"text": TEXT}
        message = {"role": "assistant", "content": [part]}
        return Answer(body={"output": {"message": message}, "stopReason": reason, "usage": usage})
    frames = [frame("messageStart", {"role": "assistant"})]
    if wants_call:
        text = json.dumps(ARGUMENTS)
        start = {"toolUse": {"toolUseId": "tooluse_1", "name": name}}
        frames.append(frame("contentBlockStart", {"contentBlockIndex": 0, "start": start}))
        deltas = [{"toolUse": {"input": part}} for part in (text[:5], text[5:])]
    else:
        deltas = [{"text": word} for word in WORDS]
    frames += [frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": delta}) for delta in deltas]
    frames.append(frame("contentBlockStop", {"contentBlockIndex": 0}))
    frames.append(frame("messageStop", {"stopReason": reason}))
    frames.append(frame("metadata", {"usage": usage, "metrics": {"latencyMs": 5}}))
    return Stream(frames, headers={"content-type": "application/vnd.amazon.eventstream"})

"""Replays recorded transcripts: what LiteLLM sent upstream because of a request, and what it answered.

Each case arms a stub with the provider's answers, sends the client's request to the gateway, and
compares what the stub saw and what the client got. A difference that is kept on purpose stands in
tests/golden/DIFFERENCES.md (or, where only the whole gateway shows it, in golden_differences.md
beside this file) with its reason; one that is not listed fails.

    tests/e2e/run --golden [--folder openai --folder azure] [--case openai/chat-plain] [--loose]
                           [--headers all] [--data FOLDER] [--verbose]
"""

import argparse
import base64
import fnmatch
import hashlib
import hmac
import http.client
import json
import re
import sys
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import mock
from gateway import KEY, Gateway

ROOT = Path(__file__).resolve().parents[2]
CREDENTIALS = {
    "authorization", "x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key", "x-amz-security-token",
}
CHECKED_ANSWER_HEADERS = ("content-type", "retry-after")
PATTERNS = {
    "id": r"[A-Za-z0-9_.:=/+-]+", "int": r"-?\d+", "float": r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", "str": r"(?s:.*)",
    "any": r"(?s:.*)", "sigv4": r"[0-9a-f]{64}", "date": r"\d{8}", "amz-date": r"\d{8}T\d{6}Z",
    "sha256": r"[0-9a-f]{64}", "jwt": r"[\w-]+\.[\w-]+\.[\w-]+",
}
PLACEHOLDER = re.compile("<(" + "|".join(PATTERNS) + ")>")
TIMEOUT_S = 30


def fill(value, words):
    """Replaces <stub>, <stubhost>, <master>, <rsa-private-key> in every string."""
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace(word, text)
        return value
    if isinstance(value, list):
        return [fill(one, words) for one in value]
    if isinstance(value, dict):
        return {fill(k, words): fill(v, words) for k, v in value.items()}
    return value


def matches_text(expected, actual):
    if "<" not in expected or not PLACEHOLDER.search(expected):
        return expected == actual
    pattern, at = "", 0
    for found in PLACEHOLDER.finditer(expected):
        pattern += re.escape(expected[at:found.start()]) + PATTERNS[found.group(1)]
        at = found.end()
    return re.fullmatch(pattern + re.escape(expected[at:]), actual) is not None


def number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def differences(expected, actual, where, loose=False):
    """Every place where `actual` is not what was recorded."""
    if isinstance(expected, str):
        if expected == "<any>":
            return []
        if expected in ("<int>", "<float>") and number(actual):
            return [] if expected == "<float>" or float(actual).is_integer() else [f"{where}: {actual!r} is no integer"]
        if isinstance(actual, str) and matches_text(expected, actual):
            return []
        return [f"{where}: expected {short(expected)}, got {short(actual)}"]
    if isinstance(expected, dict) and isinstance(actual, dict):
        found = []
        for key in sorted({*expected, *actual}):
            if loose and expected.get(key) is None and actual.get(key) is None:
                continue
            if key not in actual:
                found.append(f"{where}.{key}: missing, expected {short(expected[key])}")
            elif key not in expected:
                found.append(f"{where}.{key}: not expected, got {short(actual[key])}")
            else:
                found += differences(expected[key], actual[key], f"{where}.{key}", loose)
        return found
    if isinstance(expected, list) and isinstance(actual, list):
        found = []
        if len(expected) != len(actual):
            found.append(f"{where}: expected {len(expected)} entries, got {len(actual)}")
        for index, (left, right) in enumerate(zip(expected, actual)):
            found += differences(left, right, f"{where}[{index}]", loose)
        return found
    same = expected == actual and (number(expected) == number(actual)) and isinstance(expected, bool) == isinstance(actual, bool)
    return [] if same else [f"{where}: expected {short(expected)}, got {short(actual)}"]


def short(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 300 else text[:300] + "..."


# SigV4

def signature_differences(request, secret):
    """Recomputes an AWS Signature V4 over what arrived."""
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
        request.header("authorization") or "")
    if not found:
        return [f"authorization is no signature: {request.header('authorization')}"]
    _, date, region, service, signed, signature = found.groups()
    path = quote(request.path, safe="/-_.~")
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~"))
                   for k, v in parse_qsl(request.target.partition("?")[2], keep_blank_values=True))
    query = "&".join(f"{k}={v}" for k, v in pairs)
    headers = "".join(f"{n}:{' '.join((request.header(n) or '').split())}\n" for n in signed.split(";"))
    canonical = "\n".join([request.method, path, query, headers, signed, hashlib.sha256(request.body).hexdigest()])
    scope = f"{date}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", request.header("x-amz-date") or "", scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    wanted = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    found = [] if wanted == signature else ["the signature does not fit the request"]
    if "host" not in signed.split(";"):
        found.append("host is not signed")
    return found


# One case

def scripted(response):
    """A recorded provider answer as an answer of the mock."""
    status, headers = response.get("status", 200), dict(response.get("headers") or {})
    headers.pop("content-length", None)
    headers.pop("transfer-encoding", None)
    if "frames" in response:
        return mock.Stream(response["frames"], status=status, headers=headers)
    if "frames_base64" in response:
        return mock.Stream([base64.b64decode(f) for f in response["frames_base64"]], status=status, headers=headers)
    if "body_base64" in response:
        return mock.Answer(status, base64.b64decode(response["body_base64"]), headers)
    if "body_text" in response:
        return mock.Answer(status, response["body_text"], headers)
    body = response["body"] if "body" in response else b""
    return mock.Answer(status, json.dumps(body).encode() if "body" in response else body, headers)


def arm(stub, case):
    stub.reset()
    for helper in case.get("aux", []):
        stub.route(helper["path"], scripted(helper["response"]))
    answers = case.get("upstream_responses") or ([case["upstream_response"]] if case.get("upstream_response") else [])
    stub.script = [scripted(one) for one in answers] or [mock.Answer(500, {"error": "the case expects no call"})]


def send(server, case):
    """Sends the client's request as it is; the answer's status, headers and body."""
    wanted = case["client_request"]
    headers = {"content-type": "application/json", **wanted["headers"]}
    brings_key = {n.lower() for n in headers} & (CREDENTIALS | {"x-litellm-api-key"}) or KEY in wanted["path"]
    if not brings_key:
        headers["authorization"] = f"Bearer {KEY}"
    body = json.dumps(wanted["body"]).encode() if wanted.get("body") is not None else None
    connection = http.client.HTTPConnection(server.host, server.port, timeout=TIMEOUT_S)
    try:
        connection.request(wanted["method"], wanted["path"], body, headers)
        answer = connection.getresponse()
        return answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def events(body):
    """An SSE body as [{"event"?, "data"}]."""
    parsed = []
    for block in re.split(r"\r?\n\r?\n", body.decode("utf-8", "replace")):
        event, data = None, []
        for line in block.splitlines():
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "event":
                event = value
            elif name == "data":
                data.append(value)
        if data:
            text = "\n".join(data)
            try:
                payload = json.loads(text)
            except ValueError:
                payload = text
            parsed.append({**({"event": event} if event else {}), "data": payload})
    return parsed


def upstream_differences(case, requests, secret):
    found = []
    wanted = case["upstream_requests"]
    if len(wanted) != len(requests):
        paths = [f"{r.method} {r.target}" for r in requests]
        found.append(f"upstream: expected {len(wanted)} requests, got {len(requests)}: {paths}")
    for index, (expected, request) in enumerate(zip(wanted, requests)):
        where = f"upstream[{index}]"
        if expected["method"] != request.method:
            found.append(f"{where}.method: expected {expected['method']}, got {request.method}")
        if not matches_text(expected["path"], request.path):
            found.append(f"{where}.path: expected {expected['path']}, got {request.path}")
        found += differences(expected.get("query", {}), request.query, f"{where}.query")
        for name, value in expected["headers"].items():
            actual = request.header(name)
            if actual is None or not matches_text(value, actual):
                found.append(f"{where}.headers.{name}: expected {value!r}, got {actual!r}")
        for name in request.header_names():
            if name in CREDENTIALS and name not in {n.lower() for n in expected["headers"]}:
                found.append(f"{where}.headers.{name}: a credential that was not expected")
        if "<sigv4>" in json.dumps(expected["headers"]):
            found += [f"{where}: {one}" for one in signature_differences(request, secret)]
        found += body_differences(expected, request, where)
    return found


def body_differences(expected, request, where):
    if "form" in expected:
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        return differences(expected["form"], form, f"{where}.form")
    if "body_text" in expected:
        return differences(expected["body_text"], request.body.decode("utf-8", "replace"), f"{where}.body_text")
    if "body" in expected:
        try:
            return differences(expected["body"], request.json, f"{where}.body")
        except ValueError:
            return [f"{where}.body: no JSON: {request.body[:200]!r}"]
    return [f"{where}.body: none expected, got {request.body[:200]!r}"] if request.body else []


def answer_differences(case, status, headers, body, loose, all_headers):
    expected = case["client_response"]
    found = []
    if expected["status"] != status:
        found.append(f"client.status: expected {expected['status']}, got {status}: {body[:300]!r}")
    wanted = {n.lower(): v for n, v in expected["headers"].items()}
    for name in sorted({*wanted} if all_headers else CHECKED_ANSWER_HEADERS):
        left, right = wanted.get(name), headers.get(name)
        if name == "content-type":
            left, right = (v.split(";")[0].strip() if v else v for v in (left, right))
        if left != right and not (left and right and matches_text(left, right)):
            found.append(f"client.headers.{name}: expected {left!r}, got {right!r}")
    if "sse" in expected:
        return found + differences(expected["sse"], events(body), "client.sse", loose)
    if "body" not in expected:
        return found
    try:
        actual = json.loads(body)
    except ValueError:
        return found + [f"client.body: no JSON: {body[:200]!r}"]
    if loose and isinstance(expected["body"], dict) and isinstance(expected["body"].get("error"), dict) and isinstance(actual, dict):
        keep = lambda whole: {k: (whole.get("error") or {}).get(k) for k in ("type", "code")}
        return found + differences(keep(expected["body"]), keep(actual), "client.body.error")
    return found + differences(expected["body"], actual, "client.body", loose)


def replay(server, stub, case, options):
    arm(stub, case)
    helpers = {unquote(one["path"]) for one in case.get("aux", [])}
    try:
        status, headers, body = send(server, case)
    except (OSError, http.client.HTTPException) as error:
        return [f"client: {type(error).__name__}: {error}"]
    requests = [r for r in stub.requests if unquote(r.path) not in helpers]
    secret = (case.get("config") or {}).get("litellm_params", {}).get("aws_secret_access_key", "")
    return (upstream_differences(case, requests, secret)
            + answer_differences(case, status, headers, body, options.loose, options.headers == "all"))


# One folder

def replay_folder(folder, cases, options, words):
    """Differences per case id, every case of the folder through one gateway."""
    stub = mock.Upstream()
    words = {**words, "<stub>": stub.url, "<stubhost>": stub.host}
    cases = [fill(case, words) for case in cases]
    entries = {case["config"]["model_name"]: case["config"] for case in cases if "config" in case}
    configuration = {
        "model_list": list(entries.values()),
        "general_settings": {"master_key": KEY, "background_health_checks": False},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "litellm_settings": {"user_url_allowed_hosts": ["127.0.0.1", stub.host]},
    }
    env = {}
    for case in cases:
        env.update(case.get("env", {}))
    try:
        with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
            try:
                server = Gateway(configuration, env=env, folder=scratch)
            except AssertionError as error:
                return {case["id"]: [f"the gateway did not start: {str(error)[:600]}"] for case in cases}
            results = {case["id"]: replay(server, stub, case, options) for case in cases}
            try:
                server.stop()
            except AssertionError as error:
                results[f"{folder}/process"] = [str(error)[:2000]]
            return results
    finally:
        stub.stop()


def listed(*paths):
    """Patterns of cases ("folder/name") and their reasons: list items "- `a/b`, `c/*`: reason"."""
    found = {}
    for path in paths:
        for line in path.read_text().splitlines() if path.exists() else []:
            item = re.match(r"- ((?:`[^`]+`(?:, )?)+):? ?(.*)", line)
            for pattern in re.findall(r"`([^`]+)`", item.group(1)) if item else []:
                found[pattern] = item.group(2)
    return found


def private_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode().replace("\n", "\\n")


def data_folder(options):
    for candidate in filter(None, [options.data, ROOT / "tests" / "golden", ROOT.parent / "shared" / "golden"]):
        if any(Path(candidate).glob("*/*.json")):
            return Path(candidate)
    sys.exit("no recorded cases: tests/golden is empty; give --data FOLDER")


def main():
    parser = argparse.ArgumentParser(description="replays recorded transcripts against the gateway")
    parser.add_argument("--folder", action="append")
    parser.add_argument("--case", action="append")
    parser.add_argument("--loose", action="store_true")
    parser.add_argument("--headers", choices=["some", "all"], default="some")
    parser.add_argument("--data")
    parser.add_argument("--verbose", action="store_true", help="print the differences of listed cases too")
    options = parser.parse_args()
    data = data_folder(options)
    reasons = listed(ROOT / "tests" / "golden" / "DIFFERENCES.md", ROOT / "tests" / "e2e" / "golden_differences.md")
    words = {"<master>": KEY, "<rsa-private-key>": private_key()}
    totals = {"equal": 0, "listed": 0, "unlisted": 0}
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        cases = [{**json.loads(path.read_text()), "id": f"{folder.name}/{path.stem}"} for path in sorted(folder.glob("*.json"))]
        cases = [case for case in cases if not options.case or case["id"] in options.case]
        if not cases or (options.folder and folder.name not in options.folder):
            continue
        results = replay_folder(folder.name, cases, options, words)
        counts = judge(results, reasons, options)
        for name, count in counts.items():
            totals[name] += count
        print(f"{folder.name:14} {counts['equal']:3} equal of {len(results):3}, {counts['listed']} listed, "
              f"{counts['unlisted']} not listed", flush=True)
    print(f"{totals['equal']} equal, {totals['listed']} differ as listed, {totals['unlisted']} fail")
    print(f"{totals['equal'] + totals['listed']} passed, {totals['unlisted']} failed")
    sys.exit(1 if totals["unlisted"] else 0)


def judge(results, reasons, options):
    counts = {"equal": 0, "listed": 0, "unlisted": 0}
    for name, found in results.items():
        reason = next((why for pattern, why in reasons.items() if fnmatch.fnmatchcase(name, pattern)), None)
        if not found:
            counts["equal"] += 1
            continue
        counts["listed" if reason is not None else "unlisted"] += 1
        if reason is None or options.verbose:
            print(f"  {name}" + (f" (listed: {reason})" if reason else ""))
            for one in found[:12]:
                print(f"      {one}")
    return counts


if __name__ == "__main__":
    main()

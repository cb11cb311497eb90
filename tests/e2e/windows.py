"""rpm and tpm under four times the load, on two shards, over three windows of a minute.

    tests/e2e/windows.py [--windows 3]      (SHARDGATE_BIN names the binary)

One deployment has `rpm: 60` and gets 240 requests a minute, another has `tpm: 6000` and gets answers of
60 tokens, 400 a minute. Printed: the calls and tokens that each upstream got in each window. Exit 1 unless
each window has exactly 60 calls, and 6,000 tokens within 1 %."""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

RPM, TPM, TOKENS = 60, 6000, 60
WINDOW_S = 60.0


def answer():
    import canned
    from mock import Answer

    usage = {"prompt_tokens": 20, "completion_tokens": TOKENS - 20, "total_tokens": TOKENS}
    return Answer(body={**canned.chat(), "usage": usage})


def ask(server, model, each_s, until, refused):
    import httpx

    with server.new_client(limits=httpx.Limits(max_keepalive_connections=0)) as client:
        due = time.monotonic()
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            status = client.post("/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "x" * 80}]}).status_code
            if status != 200:
                refused.append((model, status, time.monotonic()))
            due += each_s


def windows(requests, count):
    """Calls in each window; a window begins with the first call after the last one ended."""
    found = []
    start = None
    for request in requests:
        if start is None or request.at >= start + WINDOW_S - 0.02:
            start = request.at
            found.append(0)
        found[-1] += 1
    return found[:count]


def run(count=3):
    import gateway as gateways
    import mock

    by_calls, by_tokens = mock.Upstream(), mock.Upstream()
    by_calls.answer(answer())
    by_tokens.answer(answer())
    made = gateways.config(gateways.entry("calls", by_calls, rpm=RPM), gateways.entry("tokens", by_tokens, tpm=TPM))
    server = gateways.Gateway(made, "--num_workers", 2, folder=tempfile.mkdtemp(prefix="windows-"))
    try:
        refused, until = [], time.monotonic() + WINDOW_S * count - 2
        # Two clients for each model, each with fresh connections: both shards get their part.
        threads = [threading.Thread(target=ask, args=(server, model, each_s * 2, until, refused))
                   for model, each_s in (("calls", 60 / 240), ("tokens", 60 / 400)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        calls = windows(by_calls.requests, count)
        tokens = [n * TOKENS for n in windows(by_tokens.requests, count)]
        others = sorted({status for _, status, _ in refused})
        return {"calls_by_window": calls, "tokens_by_window": tokens, "refused": len(refused), "refused_with": others}
    finally:
        server.stop()
        by_calls.stop()
        by_tokens.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=3)
    given = parser.parse_args()
    report = run(given.windows)
    print(json.dumps(report))
    exact = report["calls_by_window"] == [RPM] * given.windows
    near = len(report["tokens_by_window"]) == given.windows and all(abs(t - TPM) <= TPM * 0.01 for t in report["tokens_by_window"])
    return 0 if exact and near and report["refused_with"] == [429] else 1


if __name__ == "__main__":
    os.environ.setdefault("SHARDGATE_DRIVER", "auto")
    sys.exit(main())

"""A shard touches no file and blocks on nothing while it serves: strace is the witness."""

import os
import re
import shutil
import subprocess
import time

import pytest

import canned
from gateway import config, entry, request
from mock import Answer, Stream

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is missing; type: apt-get install strace")

# File and name look-ups, waits for children, sleeps, writes to the log.
FORBIDDEN = re.compile(
    r"\b(open|openat|openat2|stat|lstat|newfstatat|statx|access|faccessat2?|readlink\w*|getdents\w*|unlink\w*|rename\w*|mkdir\w*|"
    r"fsync|fdatasync|pread64|pwrite64|flock|nanosleep|clock_nanosleep|wait4|waitid|select|pselect6|execve|clone3?|fork|vfork)\(")
# A poll that does not wait only asks.
WAITING_POLL = re.compile(r"\bpoll\(.*\], \d+, (-1|[1-9]\d*)")
WRITE = re.compile(r"\bwritev?\((1|2),")


def shards(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as comm:
            if re.match(r"shard-\d+", comm.read()):
                found.append(task)
    return found


def traced(server, work, tmp_path):
    """The system calls of the shards during `work`, by thread, and the time the tracer was attached."""
    log = tmp_path / "strace.txt"
    tids = shards(server.pid)
    assert tids, "no thread is named shard-N"
    # With -f one attach takes every thread of the process.
    command = ["strace", "-f", "-o", str(log), "-p", str(server.pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = tracer.stderr.readline()
        if "not permitted" in line.lower():
            pytest.skip(f"strace may not attach here: {line.strip()}")
        work()
    finally:
        tracer.terminate()
        tracer.wait(10)
    lines = log.read_text().splitlines()
    assert lines, "the tracer saw nothing"
    return [line for line in lines if line.split(" ")[0] in tids]


def test_no_file_or_blocking_call_while_serving(gateway, upstream, tmp_path):
    server = gateway(config(entry("m", upstream), entry("named", f"http://localhost:{upstream.port}/v1")), "--num_workers", "2")
    server.chat()
    server.chat("named")

    def work():
        for turn in range(30):
            assert server.chat().status_code == 200
            assert server.chat("named").status_code == 200
            assert server.chat(stream=True).text.endswith("data: [DONE]\n\n")
            server.chat("no-such-model")
        with server.connect() as raw:
            raw.send(request({"model": "m", "messages": []})[:50])
        upstream.answer(Answer(500, canned.error()))
        server.chat()

    lines = traced(server, work, tmp_path)
    bad = [line for line in lines if FORBIDDEN.search(line) or WRITE.search(line) or WAITING_POLL.search(line)]
    assert not bad, bad[:10]


def test_one_write_for_a_small_answer(gateway, upstream, tmp_path):
    """Head and body of a small answer leave in one call; epoll shows it, io_uring has no such calls."""
    server = gateway(config(entry("m", upstream)), "--num_workers", "1", "--io-driver", "epoll")
    server.chat()
    lines = traced(server, lambda: [server.chat() for _ in range(20)], tmp_path)
    answers = [line for line in lines if re.search(r"\b(write|writev|send|sendto|sendmsg)\(\d+", line) and "HTTP/1.1 200" in line]
    requests = [line for line in lines if re.search(r"\b(write|writev|send|sendto|sendmsg)\(\d+", line) and "POST /v1" in line]
    writes = [line for line in lines if re.search(r"\b(write|writev|send|sendto|sendmsg)\(\d+", line) and " = 8" not in line]
    assert len(answers) == 20 and len(requests) == 20
    assert len(writes) <= 45, f"{len(writes)} writes for 20 requests and 20 answers"


def test_waiting_costs_no_cpu(gateway, upstream):
    server = gateway(config(entry("m", upstream)))
    upstream.answer(Stream(canned.chat_events(), gap_s=3))
    raws = [server.connect() for _ in range(20)]
    for raw in raws:
        raw.send(request({"model": "m", "messages": [], "stream": True}))
    upstream.wait(20)
    time.sleep(0.5)

    def ticks():
        return sum(map(int, open(f"/proc/{server.pid}/stat").read().rsplit(")", 1)[1].split()[11:13]))

    before = ticks()
    time.sleep(2)
    assert ticks() - before <= 5, f"{ticks() - before} ticks in two seconds of waiting"
    for raw in raws:
        raw.close()

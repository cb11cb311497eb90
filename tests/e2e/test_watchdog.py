"""A shard that does not go on is noticed: its connections hang, and whoever balances the load must hear of it."""

import ctypes
import os

import httpx

from gateway import config, entry, eventually

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


class Held:
    """One thread of a process, stopped by the tracer's call while the others run."""

    def __init__(self, tid):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self.tid = tid
        self.call(PTRACE_SEIZE)
        self.call(PTRACE_INTERRUPT)
        os.waitpid(tid, 0x40000000)

    def call(self, what):
        if self.libc.ptrace(what, self.tid, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace {what:#x}")

    def release(self):
        self.call(PTRACE_DETACH)


def test_a_stalled_shard_shows_in_readiness_and_log(gateway, upstream):
    server = gateway(config(entry("m", upstream)), "--num_workers", "2")
    tids = {}
    for task in os.listdir(f"/proc/{server.pid}/task"):
        with open(f"/proc/{server.pid}/task/{task}/comm") as comm:
            tids[comm.read().strip()] = int(task)

    def readiness():
        """The answers of whoever answers: a connection of a stopped shard does not."""
        said = set()
        for _ in range(12):
            try:
                said.add(httpx.get(f"http://127.0.0.1:{server.port}" + "/health/readiness", timeout=0.3).status_code)
            except httpx.TimeoutException:
                pass
        return said

    assert readiness() == {200}
    held = Held(tids["shard-1"])
    try:
        eventually(lambda: readiness() == {503}, 20)
        assert "shard_stalled" in server.log
    finally:
        held.release()
    eventually(lambda: readiness() == {200}, 20)
    assert "shard_goes_on" in server.log

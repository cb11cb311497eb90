"""Real Redis in a temporary folder: a server, a cluster of three, a master with a replica and three
sentinels. Gone with its object."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import gateway


def installed():
    return shutil.which("redis-server") is not None and shutil.which("redis-cli") is not None


def free_port():
    """One whose cluster bus (plus 10,000) fits as well."""
    while not gateway.is_free((port := gateway.free_port()) + 10_000):
        pass
    return port


class Redis:
    """One server."""

    def __init__(self, *options, port=None, sentinel=None):
        if not installed():
            raise FileNotFoundError("no redis-server and redis-cli on this machine")
        self.folder = Path(tempfile.mkdtemp(prefix="shardgate-redis-"))
        self.port = port or free_port()
        self.options, self.sentinel = options, sentinel
        self.process = None
        self.start()

    def start(self, seconds=10):
        if self.sentinel is None:
            command = ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no",
                       "--bind", "127.0.0.1", "--dir", str(self.folder), *self.options]
        else:
            path = self.folder / "sentinel.conf"
            if not path.exists():
                path.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n{self.sentinel}\n")
            command = ["redis-server", str(path), "--sentinel"]
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.cli("ping", check=False).strip() in ("PONG", "NOAUTH Authentication required."):
                return
            time.sleep(0.05)
        self.kill()
        raise AssertionError("Redis did not start:\n" + (self.folder / "log").read_text())

    def cli(self, *arguments, check=True):
        done = subprocess.run(["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *map(str, arguments)],
                              capture_output=True, text=True, check=check)
        return done.stdout

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"


class Cluster:
    """Three masters."""

    def __init__(self):
        self.nodes = [Redis("--cluster-enabled", "yes", "--cluster-node-timeout", "2000") for _ in range(3)]
        addresses = [f"127.0.0.1:{node.port}" for node in self.nodes]
        subprocess.run(["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"], check=True,
                       stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while any("cluster_state:ok" not in node.cli("cluster", "info") for node in self.nodes):
            assert time.monotonic() < until, "the cluster never came up"
            time.sleep(0.1)

    @property
    def startup_nodes(self):
        return [{"host": "127.0.0.1", "port": node.port} for node in self.nodes[:1]]

    def close(self):
        for node in self.nodes:
            node.close()


class Sentinel:
    """A master, a replica of it, and three sentinels that know them as `mymaster`."""

    def __init__(self):
        self.master = Redis()
        self.replica = Redis("--replicaof", "127.0.0.1", str(self.master.port))
        watch = (f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 2\n"
                 "sentinel down-after-milliseconds mymaster 500\n"
                 "sentinel failover-timeout mymaster 3000\nsentinel parallel-syncs mymaster 1\n")
        self.sentinels = [Redis(sentinel=watch) for _ in range(3)]
        until = time.monotonic() + 20
        while not all(self._knows_all(one) for one in self.sentinels):
            assert time.monotonic() < until, "the sentinels never found each other"
            time.sleep(0.1)

    @staticmethod
    def _knows_all(sentinel):
        said = sentinel.cli("sentinel", "master", "mymaster").split("\n")
        facts = dict(zip(said[::2], said[1::2]))
        return facts.get("num-other-sentinels") == "2" and facts.get("num-slaves") == "1"

    @property
    def nodes(self):
        return [["127.0.0.1", one.port] for one in self.sentinels]

    def close(self):
        for one in [*self.sentinels, self.replica, self.master]:
            one.close()

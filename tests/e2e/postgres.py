"""A real Postgres in a temporary folder, as a user that is not root, gone with its object."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import gateway


def binaries():
    """The folder with initdb and postgres; None when they are not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep)]
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


class Postgres:
    def __init__(self, tls=False):
        self.tls = tls
        self.bin = binaries()
        if self.bin is None:
            raise FileNotFoundError("no initdb and postgres on this machine")
        self.folder = Path(tempfile.mkdtemp(prefix="shardgate-pg-"))
        self.prefix = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
            self.prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        self.port = gateway.free_port()
        self._run("initdb", "-A", "trust", "-U", "litellm", "--no-sync", "-D", self.folder / "data")
        self.process = None
        if tls:
            self._certify()
        self.start()

    def _run(self, program, *args):
        command = [*self.prefix, str(self.bin / program), *map(str, args)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)

    def _certify(self):
        data = self.folder / "data"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "basicConstraints=critical,CA:FALSE",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", data / "server.key", "-out", data / "server.crt"],
                       check=True, stderr=subprocess.DEVNULL)
        (data / "server.key").chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(data / "server.key", "nobody")
            shutil.chown(data / "server.crt", "nobody")
        (data / "postgresql.conf").open("a").write("\nssl = on\n")
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")

    def start(self, seconds=30):
        command = [*self.prefix, str(self.bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
                   "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", str(self.folder)]
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if subprocess.run(["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0:
                return
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError("Postgres did not start:\n" + (self.folder / "log").read_text())

    def stop(self):
        if self.process:
            subprocess.run([*self.prefix, str(self.bin / "pg_ctl"), "-D", str(self.folder / "data"), "stop",
                            "-m", "immediate", "-s"], check=False, cwd=self.folder)
            self.process.wait(20)
            self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self):
        return f"postgresql://litellm@127.0.0.1:{self.port}/postgres?connection_limit=5"

    def query(self, sql, database="postgres"):
        """Rows as lists of texts."""
        done = subprocess.run(["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "litellm", "-d", database,
                               "-AtF", "\t", "-c", sql], check=True, capture_output=True, text=True)
        return [line.split("\t") for line in done.stdout.splitlines()]

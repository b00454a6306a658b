"""A redis-server in a folder of its own, on a unix socket there."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import redis

from csms.bus import names

START_LIMIT_S = 30


class RedisServer:
    """`start` after `kill` finds what was written before, unless it is told to `forget`."""

    def __init__(self) -> None:
        self._home = Path(tempfile.mkdtemp(prefix="rbredis-"))  # short: the path of a unix socket has at most 107 bytes
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._home}/redis.sock"

    def start(self, *settings: str) -> None:
        command = ["redis-server", "--port", "0", "--unixsocket", f"{self._home}/redis.sock", "--dir", str(self._home)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *durable, *settings], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.RedisError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._home / "log").read_text()) from None
                time.sleep(0.01)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """As if it had kept nothing."""
        shutil.rmtree(self._home / "appendonlydir", ignore_errors=True)

    def outlived(self, gateway: str) -> None:
        """As if that gateway had not been heard of for too long."""
        with self.look() as client:
            client.zadd("roambridge:alive:gateway", {gateway: 1}, xx=True)

    def let_go_of_leases(self) -> None:
        """As if their time were over."""
        with self.look() as client:
            for stream in range(names.STREAMS):
                client.delete(names.lease(stream))

    def give_leases_to(self, worker: str) -> None:
        """As if all others' time were over, and this one had been quickest."""
        with self.look() as client:
            for stream in range(names.STREAMS):
                client.set(names.lease(stream), worker, px=5000)

    def delivered(self, station_id: str, *, times: int) -> None:
        """What waits in this station's stream was taken so often, by workers that died."""
        key = names.events(names.stream_of(station_id))
        with redis.Redis.from_url(self.url) as client:
            client.xgroup_create(key, names.GROUP, id="0", mkstream=True)
            client.xreadgroup(names.GROUP, "dead", {key: ">"})
            entries = [row["message_id"] for row in client.xpending_range(key, names.GROUP, "-", "+", 100)]
            client.xclaim(key, names.GROUP, "dead", 0, entries, retrycount=times)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def look(self) -> "redis.Redis":
        """A client of the test's own; close it."""
        return redis.Redis.from_url(self.url, decode_responses=True)

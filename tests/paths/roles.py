"""The service as it runs at scale: gateways, workers and an api, each a process, over PostgreSQL and a Redis of one test."""

import asyncio
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx

from csms import network_file
from csms.import_network import import_network
from tests.paths import processes
from tests.paths.jumping import jump
from tests.paths.service import CARD, NETWORK, PARTY, PASSWORD, STATION, Service

START_LIMIT_S = 90.0  # five processes load what they need at once


class Deployment(Service):
    """Two gateways, two workers, two apis. `ocpp_url` is the first gateway's; `public_url` is what stands before the apis."""

    NAMES = ("gateway-1", "gateway-2", "worker-1", "worker-2", "api-1", "api-2")

    def __init__(self, folder: Path, database_url: str, redis_url: str, *, jumping: bool = False) -> None:
        """`jumping`: each process is on a host whose clock may be set, by `jump`."""
        super().__init__(folder, database_url)
        self._jumping = jumping
        ports = dict(zip(self.NAMES, processes.free_ports(len(self.NAMES)), strict=True))
        self.ocpp_urls = [f"ws://127.0.0.1:{ports[name]}/ocpp" for name in ("gateway-1", "gateway-2")]
        self.ocpp_url = self.ocpp_urls[0]
        self.front_port = int(self.public_url.rpartition(":")[2])
        self.api_ports = [ports["api-1"], ports["api-2"]]
        self.metrics = {
            name: f"127.0.0.1:{port}"
            for name, port in zip(self.NAMES, processes.free_ports(len(self.NAMES)), strict=True)
        }
        self._listens = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        self._environ |= {"ROAMBRIDGE_REDIS_URL": redis_url}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    async def start(self, *names: str) -> None:
        """These, or all, at once; returns when each says that it is ready."""
        wanted = names or self.NAMES
        for name in wanted:
            listens = self._listens[name]
            self.jump(name, 0.0)
            own = {"METRICS_LISTEN": self.metrics[name], "OCPP_LISTEN": listens, "HTTP_LISTEN": listens}
            environ = self._environ | {f"ROAMBRIDGE_{setting}": value for setting, value in own.items()}
            if name.startswith("gateway"):
                del environ["ROAMBRIDGE_SECRET_KEY"]  # it needs none
            module = ["tests.paths.jumping", str(self._clock_of(name))] if self._jumping else ["ocpi_bridge"]
            self._running[name] = processes.start(
                ["-m", *module, name.partition("-")[0]],
                folder=self._folder,
                log=self._log_of(name),
                environ=environ | {"PGAPPNAME": name},  # so that the server can tell whose connections are whose
            )
        await asyncio.gather(*(self._ready(name) for name in wanted))

    async def open_many(self, names: Sequence[str]) -> None:
        """A site with these stations, and a card CARD-... of ours for each."""
        await asyncio.to_thread(self._open_many, names)

    def _open_many(self, names: Sequence[str]) -> None:
        now = datetime.now(UTC)
        with self._database() as database, database.write() as connection:
            stations = "".join(STATION.replace("NAME", name).replace("PASSWORD", PASSWORD) for name in names)
            cards = "".join(CARD.replace("NAME", f"CARD-{name}") for name in names)
            text = NETWORK.replace("id: LOC1", "id: LOC2") + stations + "tokens:\n" + cards
            import_network(
                connection, network_file.read(text), default_party=PARTY, operator_name="Example Charging", now=now
            )

    async def open(self, *names: str) -> None:
        """These run, or all, and there is a site."""
        await self.start(*names)
        await self.open_site()

    async def _ready(self, name: str) -> None:
        until = time.monotonic() + START_LIMIT_S
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            while True:
                assert self._running[name].poll() is None, f"{name} ended: {self.told()}"
                assert time.monotonic() < until, f"{name} is not ready: {self.told()}"
                try:
                    if (await client.get(f"http://{self.metrics[name]}/health/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    async def leave(self, *names: str) -> None:
        """As an operator asks them to, all at once; they must end well."""
        leaving = [self._running.pop(name) for name in names]
        codes = await asyncio.gather(*(asyncio.to_thread(processes.end, process) for process in leaving))
        assert codes == [0] * len(names), self.told()

    def kill(self, *names: str) -> None:
        for name in names:
            processes.end(self._running.pop(name), kindly=False)

    def jump(self, name: str, ahead_s: float) -> None:
        """The clock of its host is set, to so much ahead of all others; no process notices as long as none is `jumping`."""
        jump(self._clock_of(name), ahead_s)

    def _clock_of(self, name: str) -> Path:
        return self._folder / f"{name}.clock"

    async def frames_logged(self, name: str) -> dict[str, int]:
        """Of a gateway: how many frames it wrote down, and how many it could not, since it started."""
        async with httpx.AsyncClient(trust_env=False) as client:
            lines = (await client.get(f"http://{self.metrics[name]}/metrics")).text.splitlines()
        rows = [line for line in lines if line.startswith("roambridge_message_log_rows_total{")]
        return {line.split('"')[1]: int(float(line.split()[-1])) for line in rows}

    def stop(self) -> int:
        """0 when all ended well; gateways last, so that nobody's answer is missing."""
        names = sorted(self._running, key=lambda name: name.startswith("gateway"))
        with ExitStack() as ending:
            codes: list[int] = []
            for name in reversed(names):
                process = self._running.pop(name)
                ending.callback(lambda process=process: codes.append(processes.end(process)))
        return max(codes, default=0)

    def _log_of(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def told(self) -> str:
        found = [path for path in map(self._log_of, self.NAMES) if path.exists()]
        return "\n".join(f"---- {path.stem}\n{path.read_text(errors='replace')[-3000:]}" for path in found)

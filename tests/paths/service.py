"""The service as an operator runs it: `serve` in a process of its own, commanded by `roambridge` in others."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from crud.partners import Partners
from csms import network_file
from csms.database import Database
from csms.import_network import import_network
from csms.sealing import Vault
from tests.paths import processes

START_LIMIT_S = 30.0
COMMAND_LIMIT_S = 30.0
PARTY = ("BE", "BEC")
SECRET_KEY = "a key that only the tests have"
PASSWORD = "s3cret-charger-key"
STATIONS = tuple(f"GENT-{number}" for number in range(1, 7))
OWN_CARDS = tuple(f"OWN-CARD-{number}" for number in range(1, 7))

NETWORK = """
tariffs:
  - id: standard-ac
    currency: EUR
    type: REGULAR
    elements:
      - price_components:
          - {type: FLAT, price: "0.50", vat: "20.0", step_size: 1}
          - {type: ENERGY, price: "0.25", vat: "10.0", step_size: 1}
locations:
  - id: LOC1
    name: Gent Zuid
    address: F.Rooseveltlaan 3A
    city: Gent
    postal_code: "9000"
    country: BEL
    coordinates: {latitude: "51.047599", longitude: "3.729944"}
    time_zone: Europe/Brussels
    publish: true
    opening_times: {twentyfourseven: true}
    stations:
"""
STATION = """
      - id: NAME
        password: PASSWORD
        evses:
          - evse: 1
            uid: NAME-1
            evse_id: BE*BEC*ENAME1
            connectors:
              - {id: "1", standard: IEC_62196_T2, format: CABLE, power_type: AC_3_PHASE, max_voltage: 230,
                 max_amperage: 32, tariff_ids: [standard-ac]}
"""
CARD = """
  - {uid: NAME, contract_id: BE-BEC-NAME, valid: true}
"""


class Service:
    def __init__(self, folder: Path, database_url: str) -> None:
        ocpp_port, http_port = processes.free_ports(2)
        self.ocpp_url = f"ws://127.0.0.1:{ocpp_port}/ocpp"
        self.public_url = f"http://127.0.0.1:{http_port}"
        self.database_url = database_url
        self._folder = folder
        self.network_file = folder / "network.yaml"
        stations = [STATION.replace("NAME", name).replace("PASSWORD", PASSWORD) for name in STATIONS]
        cards = [CARD.replace("NAME", uid) for uid in OWN_CARDS]
        self.network_file.write_text(NETWORK + "".join(stations) + "tokens:\n" + "".join(cards))
        self.log = folder / "service.log"
        self._environ = {
            "ROAMBRIDGE_DATABASE_URL": database_url,
            "ROAMBRIDGE_DATA_DIR": str(folder),
            "ROAMBRIDGE_OCPP_LISTEN": f"127.0.0.1:{ocpp_port}",
            "ROAMBRIDGE_HTTP_LISTEN": f"127.0.0.1:{http_port}",
            "ROAMBRIDGE_PUBLIC_URL": self.public_url,
            "ROAMBRIDGE_OPERATOR_NAME": "Example Charging",
            "ROAMBRIDGE_SECRET_KEY": SECRET_KEY,
            "ROAMBRIDGE_OUTBOUND_ALLOW": "127.0.0.0/8",
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when it says that it is ready."""
        self._process = processes.start(
            ["-m", "ocpi_bridge", "serve"], folder=self._folder, log=self.log, environ=self._environ
        )
        until = time.monotonic() + START_LIMIT_S
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            while True:
                assert self._process.poll() is None, f"the service ended: {self.told()}"
                assert time.monotonic() < until, f"the service is not ready: {self.told()}"
                try:
                    if (await client.get(f"{self.public_url}/health/ready")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """kill -9: nothing is flushed, nobody is told."""
        assert self._process is not None
        processes.end(self._process, kindly=False)
        self._process = None

    def stop(self) -> int:
        """Its exit code when asked to leave; 0 when it does not run."""
        process, self._process = self._process, None
        return 0 if process is None else processes.end(process)

    async def command(self, *arguments: str) -> str:
        """What `roambridge ...` prints; it must succeed."""
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ocpi_bridge",
            *arguments,
            cwd=self._folder,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(processes.ROOT), **self._environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_LIMIT_S):
                told, _ = await running.communicate()
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
        assert running.returncode == 0, told.decode()
        return told.decode()

    # ---- what its operator does beside it, as the commands do but without their start --------------------------------

    async def open_site(self) -> None:
        """One location with the stations of STATIONS, their tariff, and the operator's own cards."""
        await asyncio.to_thread(self._open_site)

    def _open_site(self) -> None:
        with self._database() as database, database.write() as connection:
            import_network(
                connection,
                network_file.read(self.network_file.read_text()),
                default_party=PARTY,
                operator_name="Example Charging",
                now=datetime.now(UTC),
            )

    async def invite(self, name: str) -> tuple[str, str]:
        """The partner's token A, and where it begins."""
        return await asyncio.to_thread(self._invite, name), f"{self.public_url}/ocpi/versions"

    def _invite(self, name: str) -> str:
        with self._database() as database, database.write() as connection:
            partners = Partners(database, Vault(SECRET_KEY), clock=lambda: datetime.now(UTC))
            return partners.invite(connection, name, PARTY, datetime.now(UTC))

    @contextmanager
    def _database(self) -> Iterator[Database]:
        database = Database(self.database_url)
        try:
            yield database
        finally:
            database.dispose()

    def told(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

"""The service under the benchmark, in a process of its own, with a network in it."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from csms.database import Database
from csms.import_network import import_network
from csms.schema import migrate
from csms.simulator import network_file

PASSWORD = "bench-key-of-the-benchmark"
START_LIMIT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A running service. `pid`: of its process; of roles, the first worker's."""

    pid: int
    ocpp_url: str
    public_url: str
    database_url: str
    environment: Mapping[str, str]

    def roambridge(self, *words: str) -> str:
        """What the command prints; it must succeed."""
        command = [sys.executable, "-m", "ocpi_bridge", *words]
        return subprocess.run(
            command, env={**os.environ, **self.environment}, check=True, stdout=subprocess.PIPE, text=True
        ).stdout


@contextmanager
def serving(
    station_ids: Sequence[str],
    database_url: str | None,
    *,
    tariff: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Serving]:
    """With a card of the same name for each station. `database_url` None: a SQLite file; else an empty database. `tariff`:
    what charging costs everywhere. `settings`: of the environment, beside those that are needed."""
    with tempfile.TemporaryDirectory() as folder:
        port, http_port = free_port(), free_port()
        url = database_url or f"sqlite:///{folder}/bench.db"
        environment = {
            "ROAMBRIDGE_DATABASE_URL": url,
            "ROAMBRIDGE_DATA_DIR": folder,
            "ROAMBRIDGE_OCPP_LISTEN": f"127.0.0.1:{port}",
            "ROAMBRIDGE_HTTP_LISTEN": f"127.0.0.1:{http_port}",
            "ROAMBRIDGE_PUBLIC_URL": f"http://127.0.0.1:{http_port}",
            "ROAMBRIDGE_OUTBOUND_ALLOW": "127.0.0.0/8",
            "ROAMBRIDGE_SECRET_KEY": secrets.token_urlsafe(32),
            **(settings or {}),
        }
        open_network(url, station_ids, tariff)
        with server([sys.executable, "-m", "ocpi_bridge", "serve"], port, environment) as pid:
            yield Serving(
                pid=pid,
                ocpp_url=f"ws://127.0.0.1:{port}/ocpp",
                public_url=f"http://127.0.0.1:{http_port}",
                database_url=url,
                environment=environment,
            )


def open_network(url: str, station_ids: Sequence[str], tariff: Mapping[str, Any] | None = None) -> None:
    migrate(url)
    document = network_file.document(station_ids, station_ids, password=PASSWORD)
    if tariff is not None:
        document = _priced(document, tariff)
    database = Database(url)
    try:
        with database.write() as connection:
            import_network(
                connection,
                document,
                default_party=("BE", "BEC"),
                operator_name="Bench",
                now=datetime.now(UTC),
            )
    finally:
        database.dispose()


def _priced(document: dict[str, Any], tariff: Mapping[str, Any]) -> dict[str, Any]:
    for site in document["locations"]:
        for station in site["stations"]:
            for evse in station["evses"]:
                named = [connector | {"tariff_ids": [tariff["id"]]} for connector in evse["connectors"]]
                evse["connectors"] = named
    return document | {"tariffs": [dict(tariff)]}


@contextmanager
def server(command: list[str], port: int, environment: Mapping[str, str]) -> Iterator[int]:
    """A process that listens on `port`; its pid."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)  # its log
    try:
        _wait_for(port, process)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

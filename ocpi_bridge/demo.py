"""One roaming story with real sockets and HTTP, told as it happens: a partner's driver charges, and the bill reaches home."""

import argparse
import asyncio
import logging
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import uvloop
import yaml
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from adapters.rendered import encode
from csms.import_network import import_network
from csms.models import ChargeRecord, Transaction
from csms.simulator.charge_point import ChargePoint
from csms.simulator.clock import SimClock
from csms.simulator.profile import Profile
from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.main import configure_logging
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load

OCPP_PORT, HTTP_PORT = 9000, 8000
STATION, PASSWORD = "CP-GENT-01", "s3cret-charger-key"
DRIVER = "04E1D2C3B4A596"
PATIENCE_S = 20.0
SAMPLES = 5
METER_STEP_MWH = 1000  # meterStart and meterStop are whole Wh

NETWORK = f"""
tariffs:
  - id: standard-ac
    currency: EUR
    type: REGULAR
    elements:
      - price_components:
          - {{type: FLAT, price: "0.50", vat: "20.0", step_size: 1}}
          - {{type: ENERGY, price: "0.25", vat: "10.0", step_size: 1}}
locations:
  - id: LOC1
    name: Gent Zuid
    address: F.Rooseveltlaan 3A
    city: Gent
    postal_code: "9000"
    country: BEL
    coordinates: {{latitude: "51.047599", longitude: "3.729944"}}
    time_zone: Europe/Brussels
    publish: true
    opening_times: {{twentyfourseven: true}}
    stations:
      - id: {STATION}
        password: {PASSWORD}
        evses:
          - evse: 1
            uid: {STATION}-1
            evse_id: BE*BEC*E041503001
            connectors:
              - {{id: "1", standard: IEC_62196_T2, format: CABLE, power_type: AC_3_PHASE, max_voltage: 230,
                 max_amperage: 32, tariff_ids: [standard-ac]}}
"""


class StoryBroke(Exception):
    """A promise of the story was not kept; the text says which."""


async def play(console: Console, *, once: bool, data_dir: Path) -> None:
    """Raises StoryBroke. Without `once` it stays up until it is cancelled."""
    ocpp_port, http_port = _free_port(OCPP_PORT), _free_port(HTTP_PORT)
    public_url = f"http://127.0.0.1:{http_port}"
    service = Service(
        load(
            {
                "ROAMBRIDGE_DATABASE_URL": f"sqlite:///{data_dir / 'demo.db'}",
                "ROAMBRIDGE_DATA_DIR": str(data_dir),
                "ROAMBRIDGE_OCPP_LISTEN": f"127.0.0.1:{ocpp_port}",
                "ROAMBRIDGE_HTTP_LISTEN": f"127.0.0.1:{http_port}",
                "ROAMBRIDGE_PUBLIC_URL": public_url,
                "ROAMBRIDGE_OPERATOR_NAME": "Example Charging",
                "ROAMBRIDGE_SECRET_KEY": secrets.token_urlsafe(32),
                "ROAMBRIDGE_OUTBOUND_ALLOW": "127.0.0.0/8",
            },
            env_file=None,
        )
    )
    await service.start()
    try:
        async with EmspSimulator(party=("NL", "MSP"), name="Demo eMSP", strict=True) as emsp:
            story = Story(console, service, emsp, ocpp_port=ocpp_port, public_url=public_url)
            await story.tell()
            if not once:
                story.addresses(data_dir)
                await asyncio.get_running_loop().create_future()
    finally:
        await service.stop()


class Story:
    def __init__(
        self, console: Console, service: Service, emsp: EmspSimulator, *, ocpp_port: int, public_url: str
    ) -> None:
        self._console = console
        self._service = service
        self._emsp = emsp
        self._ocpp_url = f"ws://127.0.0.1:{ocpp_port}/ocpp"
        self._public_url = public_url

    async def tell(self) -> None:
        await self._open_network()
        await self._register()
        await self._push_token()
        await self._bill(await self._charge())

    # ---- chapters ---------------------------------------------------------------------------------------------------

    async def _open_network(self) -> None:
        self._chapter("The operator opens a site")

        def write() -> int:
            with self._service.database.write() as connection:
                changes = import_network(
                    connection,
                    yaml.safe_load(NETWORK),
                    default_party=self._service.settings.our_party,
                    operator_name=self._service.settings.operator_name,
                    now=self._service.clock(),
                )
                return len(changes)

        count = await asyncio.to_thread(write)
        self._service.wake()
        self._say(f"imported {count} things: tariff standard-ac, location LOC1, station {STATION} with one EVSE")

    async def _register(self) -> None:
        self._chapter("A partner registers with us")

        def invite() -> str:
            with self._service.database.write() as connection:
                party = self._service.settings.our_party
                return self._service.partners.invite(connection, "Demo eMSP", party, self._service.clock())

        token_a = await asyncio.to_thread(invite)
        versions_url = f"{self._public_url}/ocpi/versions"
        self._say(f"invited with a one-time token and {versions_url}")
        await self._emsp.register(versions_url, token_a)
        self._say("GET versions, GET 2.2.1, POST credentials: tokens exchanged, token A is dead")
        await self._emsp.wait_for(lambda: bool(self._emsp.locations and self._emsp.tariffs), PATIENCE_S)
        location = self._emsp.locations["LOC1"]
        self._say(f"the partner now shows {location['name']!r}, EVSE {location['evses'][0]['status']}, and its tariff")

    async def _push_token(self) -> None:
        self._chapter("The partner pushes its driver's card")
        await self._emsp.push_token(self._emsp.issue_token(DRIVER))
        self._say(f"PUT tokens/NL/MSP/{DRIVER}: stored, whitelist ALLOWED")

    async def _charge(self) -> int:
        """The energy that the car got, in mWh. The charger's clock runs ahead of the wall's: a minute takes a moment."""
        self._chapter("The driver charges, and the partner watches")
        profile = Profile(station_id=STATION, url=self._ocpp_url, password=PASSWORD, connectors=1, max_power_w=22_000)
        clock = SimClock(datetime.now(UTC) - timedelta(seconds=60 * SAMPLES + 30))
        async with ChargePoint(profile, clock=clock, on_frame=self._frame) as charger:
            await charger.start()
            answer = await charger.authorize(DRIVER)
            if answer["idTagInfo"]["status"] != "Accepted":
                raise StoryBroke(f"the card was answered {answer['idTagInfo']['status']}")
            await charger.plug(1)
            transaction = await charger.start_transaction(1, DRIVER)
            await self._told(lambda session: session["status"] == "ACTIVE")
            for _ in range(SAMPLES):
                await clock.advance(60)
                await charger.meter_values(1)
                await self._told(partial(_more_than, self._session()["kwh"]))
            await charger.stop_transaction(1)
            await charger.unplug(1)
            await charger.outbox.drained(timeout_s=PATIENCE_S)
            await self._told(lambda session: session["status"] == "COMPLETED")
        self._say(f"the car took {Decimal(transaction.energy_mwh) / 1_000_000:.3f} kWh")
        return transaction.energy_mwh

    async def _told(self, expected: Callable[[Any], bool]) -> None:
        """Waits for what the partner hears of the session, and shows it."""
        await self._emsp.wait_for(lambda: bool(self._emsp.sessions) and expected(self._session()), PATIENCE_S)
        last = [request for request in self._emsp.requests if "/sessions/" in request.path][-1]
        self._request(last.method, last.path, last.body)

    def _session(self) -> Any:
        return next(iter(self._emsp.sessions.values()))

    async def _bill(self, delivered_mwh: int) -> None:
        self._chapter("The bill reaches the partner")
        await self._emsp.wait_for(lambda: bool(self._emsp.cdrs), PATIENCE_S)
        (received,) = self._emsp.cdrs
        self._request("POST", "/2.2.1/cdrs", received)
        record, ours = await asyncio.to_thread(self._ours)
        self._table(record)
        self._check(delivered_mwh, orjson.loads(encode(received)), ours)

    def _ours(self) -> tuple[Any, Any]:
        """The bill in our database, and the CDR that a partner's GET would show of it."""
        with self._service.database.read() as connection:
            record = connection.execute(select(ChargeRecord.__table__)).one()
            rendered = self._service.shown.current_state(connection, "cdrs", record.id)
            transaction = connection.execute(select(Transaction.energy_mwh)).scalar_one()
            return record, (orjson.loads(encode(rendered)), transaction)

    def _check(self, delivered_mwh: int, received: Any, ours: Any) -> None:
        cdr, energy_mwh = ours
        if received != cdr:
            different = sorted(key for key in {*received, *cdr} if received.get(key) != cdr.get(key))
            raise StoryBroke(f"the CDR at the partner is not the one in our database: {', '.join(different)}")
        if abs(energy_mwh - delivered_mwh) > METER_STEP_MWH:
            raise StoryBroke(f"billed {energy_mwh} mWh, delivered {delivered_mwh} mWh")
        if self._emsp.complaints:
            raise StoryBroke(f"a strict partner complained: {self._emsp.complaints[0]}")
        self._say("[green]the CDR at the partner equals the one in our database,")
        self._say("[green]and a strict partner found nothing to complain of")

    # ---- telling ----------------------------------------------------------------------------------------------------

    def _chapter(self, title: str) -> None:
        self._console.print(f"\n[bold cyan]{title}")

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", highlight=False, no_wrap=True, overflow="ellipsis")

    def _frame(self, direction: str, text: str) -> None:
        frame = orjson.loads(text)
        if frame[0] == 2 and direction == "sent":
            self._say(f"[dim]charger →[/] {frame[2]} {_brief(frame[3])}")
        elif frame[0] == 3 and direction == "received" and frame[2]:
            self._say(f"[dim]        ←[/] {_brief(frame[2])}")

    def _request(self, method: str, path: str, body: Any) -> None:
        shown = {key: body[key] for key in ("status", "kwh", "total_energy", "total_cost") if key in body}
        if "id" in body and method == "POST":
            shown = {"id": body["id"][:8] + "…", **shown}
        self._say(f"[green]partner ←[/] {method} {path.split('/2.2.1/')[-1].split('/')[0]} {_brief(shown)}")

    def _table(self, record: Any) -> None:
        table = Table(title=f"Charge record {record.id}", title_justify="left", box=None, padding=(0, 2))
        for column in ("", "quantity", "price", "excl. VAT", "VAT", "incl. VAT"):
            table.add_column(column, justify="left" if not column else "right")
        for line in record.lines:
            quantity = f"{Decimal(line['quantity']).normalize():f} {line['unit']}"
            vat = f"{line['vat']} %" if line["vat"] else "-"
            table.add_row(line["dimension"], quantity, line["price"], line["excl_vat"], vat, line["incl_vat"])
        total = (f"{record.total_excl_vat}", "", f"{record.total_incl_vat} {record.currency}")
        table.add_row("[bold]total", "", "", *total)
        self._console.print(table)

    def addresses(self, data_dir: Path) -> None:
        self._chapter("Look around (Ctrl-C ends it)")
        for what, address in {
            "chargers": f"{self._ocpp_url}/{{station_id}}",
            "partners": f"{self._public_url}/ocpi/versions",
            "health": f"{self._public_url}/health/ready",
            "metrics": f"{self._public_url}/metrics",
            "the partner": self._emsp.versions_url,
        }.items():
            self._say(f"{what:12} {address}")
        settings = f"ROAMBRIDGE_DATABASE_URL=sqlite:///{data_dir / 'demo.db'} ROAMBRIDGE_DATA_DIR={data_dir}"
        self._console.print(f"  messages     {settings} .venv/bin/roambridge messages", soft_wrap=True, highlight=False)


def _more_than(kwh: Decimal, session: Any) -> bool:
    return bool(session["kwh"] > kwh)


def _brief(value: Any) -> str:
    return encode(value).decode().replace("[", r"\[")


def _free_port(wanted: int) -> int:
    """`wanted`, or any other when somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StoryBroke("no port is free")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--once", action="store_true", help="end after the story; exit 0 only if the bill arrived intact"
    )
    once = parser.parse_args(arguments).once
    console = Console()
    configure_logging(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(prefix="roambridge-demo-") as data_dir:
            uvloop.run(play(console, once=once, data_dir=Path(data_dir)))
    except (StoryBroke, TimeoutError) as broken:
        console.print(f"\n[bold red]The story broke:[/] {broken or 'somebody did not answer in time'}", highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nGood-bye.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

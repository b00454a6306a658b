"""A core with its database and a clock we set, and the words to tell it what chargers say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from csms import stations
from csms.commands import Answer, Command, Outcome
from csms.core import Csms
from csms.database import Database
from csms.events import (
    ConnectorStatus,
    ConnectorStatusReported,
    IdTokenPresented,
    MeterSample,
    MeterSampled,
    SampledValue,
    StationBooted,
    StopReason,
    TransactionEnded,
    TransactionStarted,
)
from csms.journal import Wake
from csms.models import Connector, Evse, Location, Tariff, Transaction
from csms.tokens import TokenRecord, put

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class Story:
    """Everything happens at `now`, which only the test moves."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.database = database
        self.now = NOON
        self.sent: list[Command[Any]] = []
        self.answer = Answer(outcome=Outcome.ACCEPTED)
        self.csms = Csms(
            database,
            wake=Wake(),
            our_party=("BE", "BEC"),
            clock=lambda: self.now,
            **{"send": self._send, "follow_up": False, **options},
        )

    async def _send(self, command: Command[Any], *, timeout_s: float) -> Any:
        self.sent.append(command)
        return self.answer

    def pass_time(self, **delta: float) -> datetime:
        self.now += timedelta(**delta)
        return self.now

    # ---- what an operator did before ------------------------------------------------------------------------------

    def site(self, *station_ids: str, evses: int = 2, password: str | None = None) -> None:
        with self.database.write() as connection:
            location = connection.execute(
                insert(Location)
                .values(
                    country_code="BE",
                    party_id="BEC",
                    location_id=f"LOC-{station_ids[0]}",
                    location_key=f"loc-{station_ids[0]}".casefold(),
                    name="Gent Zuid",
                    address="F.Rooseveltlaan 3A",
                    city="Gent",
                    postal_code="9000",
                    country="BEL",
                    latitude="51.047599",
                    longitude="3.729944",
                    time_zone="Europe/Brussels",
                    publish=True,
                    created_at=NOON,
                    last_updated=NOON,
                )
                .returning(Location.id)
            ).scalar_one()
            for station_id in station_ids:
                stations.provision(connection, station_id, password, NOON)
                for number in range(1, evses + 1):
                    evse = connection.execute(
                        insert(Evse)
                        .values(
                            location_row=location,
                            station_id=station_id,
                            evse=number,
                            uid=f"{station_id}-{number}",
                            uid_key=f"{station_id}-{number}".casefold(),
                            evse_id=f"BE*BEC*E{station_id}{number}",
                            created_at=NOON,
                            last_updated=NOON,
                        )
                        .returning(Evse.id)
                    ).scalar_one()
                    connection.execute(
                        insert(Connector).values(
                            evse_row=evse,
                            connector_id="1",
                            position=1,
                            standard="IEC_62196_T2",
                            format="CABLE",
                            power_type="AC_3_PHASE",
                            max_voltage=230,
                            max_amperage=32,
                            tariff_ids=["standard-ac"],
                            last_updated=NOON,
                        )
                    )

    def tariff(self, elements: list[dict[str, Any]] | None = None, *, id: str = "standard-ac", **changes: Any) -> None:
        tariff = {
            "country_code": "BE",
            "party_id": "BEC",
            "tariff_id": id,
            "tariff_key": id.casefold(),
            "version": 1,
            "current": True,
            "currency": "EUR",
            "elements": elements
            or [{"price_components": [{"type": "ENERGY", "price": "0.25", "vat": "20.0", "step_size": 1}]}],
            "created_at": NOON,
            "last_updated": NOON,
        }
        with self.database.write() as connection:
            connection.execute(insert(Tariff).values(**tariff | changes))

    def card(self, uid: str = "04A1B2C3D4", **changes: Any) -> None:
        record = TokenRecord(
            **{
                "country_code": "BE",
                "party_id": "BEC",
                "uid": uid,
                "contract_id": f"BE-BEC-{uid}",
                "issuer": "roambridge",
                "valid": True,
                "last_updated": NOON,
                **changes,
            }
        )
        with self.database.write() as connection:
            put(connection, record, NOON)

    # ---- what a charger says --------------------------------------------------------------------------------------

    def _event(self, type_: Any, station_id: str, at: datetime | str | None, **fields: Any) -> Any:
        occurred = self.now if at == "now" else at
        return type_(station_id=station_id, ocpp_version="1.6", received_at=self.now, occurred_at=occurred, **fields)

    async def boot(self, station_id: str = "CP1", vendor: str = "Acme", model: str = "X", **fields: Any) -> Any:
        return await self.csms.report(
            self._event(StationBooted, station_id, None, vendor=vendor, model=model, **fields)
        )

    async def status(
        self, status: ConnectorStatus, evse: int = 1, station_id: str = "CP1", at: Any = "now", **fields: Any
    ) -> Any:
        return await self.csms.report(
            self._event(ConnectorStatusReported, station_id, at, evse=evse, status=status, **fields)
        )

    async def tap(self, id_token: str = "04A1B2C3D4", station_id: str = "CP1") -> Any:
        return await self.csms.report(self._event(IdTokenPresented, station_id, None, id_token=id_token))

    async def start(
        self,
        id_token: str = "04A1B2C3D4",
        station_id: str = "CP1",
        evse: int = 1,
        meter: int | None = 1_000_000,
        at: Any = "now",
        **fields: Any,
    ) -> Any:
        return await self.csms.report(
            self._event(
                TransactionStarted, station_id, at, evse=evse, id_token=id_token, meter_start_mwh=meter, **fields
            )
        )

    async def sample(
        self,
        number: int | str | None,
        wh: float | str,
        station_id: str = "CP1",
        evse: int = 1,
        at: Any = "now",
        **fields: Any,
    ) -> Any:
        occurred = self.now if at == "now" else at
        samples = (MeterSample(occurred_at=occurred, values=(SampledValue(value=str(wh), unit="Wh"),)),)
        ref = None if number is None else str(number)
        return await self.csms.report(
            self._event(MeterSampled, station_id, occurred, evse=evse, transaction_ref=ref, samples=samples, **fields)
        )

    async def end(
        self,
        number: int | str,
        meter: int | None,
        station_id: str = "CP1",
        id_token: str | None = None,
        reason: StopReason = StopReason.LOCAL,
        at: Any = "now",
        **fields: Any,
    ) -> Any:
        return await self.csms.report(
            self._event(
                TransactionEnded,
                station_id,
                at,
                transaction_ref=str(number),
                meter_stop_mwh=meter,
                id_token=id_token,
                reason=reason,
                **fields,
            )
        )

    # ---- what is kept ---------------------------------------------------------------------------------------------

    def rows(self, model: Any, *where: Any) -> list[Any]:
        with self.database.read() as connection:
            table = model.__table__
            return list(connection.execute(select(table).where(*where).order_by(*table.primary_key.columns)).all())

    def transactions(self) -> list[Any]:
        return sorted(self.rows(Transaction), key=lambda row: row.number)

    def transaction(self) -> Any:
        (only,) = self.transactions()
        return only


@asynccontextmanager
async def told(database: Database, **options: Any) -> AsyncIterator[Story]:
    story = Story(database, **options)
    running = asyncio.create_task(story.csms.run())
    try:
        yield story
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await story.csms.remote.stop()
        await story.csms.close()

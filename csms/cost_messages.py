"""Drivers see on the charger's display what their session costs, while it runs and when it is over (X14).

OCPP & California Pricing Requirements: messages of the vendor `org.openchargealliance.costmsg` to the stations that say by
their setting CustomDisplayCostAndPrice that they show such things. Amounts are with VAT, as drivers pay them.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, exists, func, select

from csms.billing.charge_records import session_price
from csms.billing.tariffs import Tariff
from csms.commands import SendVendorData
from csms.events import ConnectorStatus
from csms.journal import FactType, Recorded
from csms.lifecycle import State
from csms.models import ActualSetting, Evse, JournalEntry, Station, Transaction
from csms.models import Tariff as TariffVersion
from csms.requests import enqueue
from csms.vendor_data import CONNECTOR_UNPLUGGED, COST_MESSAGES, unplugged_from

SET_USER_PRICE = "SetUserPrice"
RUNNING_COST = "RunningCost"
FINAL_COST = "FinalCost"

SHOWS_COSTS = "CustomDisplayCostAndPrice"
DECIMALS = "NumberOfDecimalsForCostValues"
DEFAULT_DECIMALS = 3

TOLD: Final = (
    FactType.TRANSACTION_STARTED,
    FactType.TRANSACTION_SAMPLED,
    FactType.TRANSACTION_ENDED,
    FactType.VENDOR_DATA,
)
# Of the stations that know the setting alone, which are few: the others' samples are not even read.
OF_WHO_SHOWS: Final = exists().where(
    ActualSetting.station_id == JournalEntry.station_id, ActualSetting.key == SHOWS_COSTS
)
EVERY = timedelta(seconds=60)  # for one transaction
STALE_AFTER = timedelta(minutes=5)  # nobody stands in front of the display any more
ANSWER_WITHIN_S = 30.0

IDLE = (ConnectorStatus.SUSPENDED_EV, ConnectorStatus.SUSPENDED_EVSE, ConnectorStatus.FINISHING)
UNIT_PRICES = {"ENERGY": "kWhPrice", "TIME": "hourPrice", "FLAT": "flatFee"}
PER = {"ENERGY": "/kWh", "TIME": "/h", "FLAT": " per session", "PARKING_TIME": "/h idle"}

_ENCODE = msgspec.json.Encoder(decimal_format="number").encode  # a number on the wire that was never a float


# ---- the messages ---------------------------------------------------------------------------------------------------


def user_price(*, id_token: str, text: str) -> str:
    return _data(idToken=id_token, priceText=text)


def running_cost(
    *,
    number: int,
    at: datetime,
    meter_wh: int,
    cost: Decimal,
    tariff: Tariff,
    idle: bool,
    decimals: int = DEFAULT_DECIMALS,
) -> str:
    """`number` is the id by which the station knows the transaction, `meter_wh` its register at `at`."""
    prices = unit_prices(tariff, decimals)
    idle_price = prices.pop("PARKING_TIME", None)
    charging = {UNIT_PRICES[dimension]: price for dimension, price in prices.items()}
    more = {} if idle_price is None else {"idlePrice": {"hourPrice": idle_price}}
    return _data(
        transactionId=number,
        timestamp=at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        meterValue=meter_wh,
        cost=_rounded(cost, decimals),
        state="Idle" if idle else "Charging",
        chargingPrice=charging,
        **more,
    )


def final_cost(*, number: int, cost: Decimal, currency: str, energy_mwh: int, decimals: int = DEFAULT_DECIMALS) -> str:
    text = f"{_rounded(cost, 2)} {currency}, {_rounded(Decimal(energy_mwh) / 1_000_000, 2)} kWh"
    return _data(transactionId=number, cost=_rounded(cost, decimals), priceText=text)


def unit_prices(tariff: Tariff, decimals: int = DEFAULT_DECIMALS) -> dict[str, Decimal]:
    """With VAT, by dimension; a dimension whose price depends on more than that is left out."""
    prices: dict[str, Decimal] = {}
    depends: set[str] = set()
    for element in tariff.elements:
        for part in element.price_components:
            if part.type in prices or part.type in depends or part.type not in PER:
                continue
            if element.restrictions:
                depends.add(part.type)
            else:
                with_vat = part.price * (1 + (part.vat or Decimal(0)) / 100)
                prices[part.type] = _rounded(with_vat, decimals)
    return prices


def price_text(tariff: Tariff, alternative: Sequence[Mapping[str, Any]] = ()) -> str:
    """The operator's own words where there are some (OCPI's tariff_alt_text), else the prices."""
    for said in alternative:
        if said.get("text"):
            return str(said["text"])
    prices = unit_prices(tariff, 2)
    told = [f"{prices[dimension]} {tariff.currency}{per}" for dimension, per in PER.items() if dimension in prices]
    return ", ".join(told) or f"see the operator's tariff {tariff.id}"


def _data(**fields: Any) -> str:
    return _ENCODE(fields).decode()


def _rounded(amount: Decimal, decimals: int) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


# ---- who is told, and when ------------------------------------------------------------------------------------------


class CostTeller:
    """A reader of the journal: the price at the start, the cost at most once a minute, and the final cost.

    What was told last is kept in memory only: a restart may tell one cost twice. A cost that we cannot compute for sure is
    not told. Stations that are away are told nothing, for it would be old when they come.
    """

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._told_at: dict[tuple[str, str], datetime] = {}

    def handle(self, connection: Connection, facts: Sequence[Recorded]) -> None:
        now = self._clock()
        fresh = [fact for fact in facts if fact.station_id and now - fact.recorded_at < STALE_AFTER]
        showing = _showing(connection, {fact.station_id for fact in fresh if fact.station_id})
        for fact in fresh:
            if fact.station_id in showing:
                self._tell(connection, fact, showing[fact.station_id], now)
        self._told_at = {told: at for told, at in self._told_at.items() if now - at < EVERY}

    def _tell(self, connection: Connection, fact: Recorded, decimals: int, now: datetime) -> None:
        transaction = _transaction_of(connection, fact)
        if transaction is None or transaction.tariff_row is None:
            return
        version = _tariff_version(connection, transaction.tariff_row)
        tariff = Tariff.from_json(
            id=version.tariff_id,
            version=version.version,
            document={
                **version.details,
                "currency": version.currency,
                "type": version.type,
                "elements": version.elements,
            },
        )
        if fact.type == FactType.TRANSACTION_STARTED:
            id_token = bytes.fromhex(transaction.id_token).decode(errors="replace")
            text = price_text(tariff, version.details.get("tariff_alt_text") or ())
            self._send(connection, fact, SET_USER_PRICE, user_price(id_token=id_token, text=text), now)
            return
        ended = transaction.state == State.ENDED.value
        if ended is (fact.type == FactType.TRANSACTION_SAMPLED) or not self._is_time(fact, transaction.id, now):
            return
        _, cost = session_price(connection, transaction)
        if cost.unsupported:
            return
        if ended:
            data = final_cost(
                number=transaction.number,
                cost=cost.total_incl_vat,
                currency=cost.currency,
                energy_mwh=cost.energy_mwh,
                decimals=decimals,
            )
            self._send(connection, fact, FINAL_COST, data, now)
            return
        data = running_cost(
            number=transaction.number,
            at=transaction.last_sample_at or now,
            meter_wh=_meter_wh(transaction),
            cost=cost.total_incl_vat,
            tariff=tariff,
            idle=_is_idle(connection, transaction),
            decimals=decimals,
        )
        self._send(connection, fact, RUNNING_COST, data, now)

    def _is_time(self, fact: Recorded, transaction_id: str, now: datetime) -> bool:
        """What a station can say as often as it likes is answered once a minute."""
        if fact.type == FactType.TRANSACTION_ENDED:
            return True
        told_at = self._told_at.get((fact.type, transaction_id))
        if told_at is not None and now - told_at < EVERY:
            return False
        self._told_at[fact.type, transaction_id] = now
        return True

    def _send(self, connection: Connection, fact: Recorded, message: str, data: str, now: datetime) -> None:
        assert fact.station_id is not None
        command = SendVendorData(station_id=fact.station_id, vendor_id=COST_MESSAGES, message_id=message, data=data)
        enqueue(connection, command, requested_by="job:cost_messages", now=now, timeout_s=ANSWER_WITHIN_S)


def _showing(connection: Connection, station_ids: set[str]) -> dict[str, int]:
    """The connected stations of these that show costs, each with the number of decimals that it reads."""
    if not station_ids:
        return {}
    row = ActualSetting
    query = (
        select(row.station_id, row.key, row.value)
        .join(Station, Station.station_id == row.station_id)
        .where(
            row.station_id.in_(station_ids), row.key.in_((SHOWS_COSTS, DECIMALS)), Station.connection_id.is_not(None)
        )
    )
    settings: dict[str, dict[str, str]] = {}
    for station_id, key, value in connection.execute(query):
        settings.setdefault(station_id, {})[key] = (value or "").strip()
    return {
        station_id: int(told) if (told := said.get(DECIMALS, "")).isdecimal() and int(told) < 7 else DEFAULT_DECIMALS
        for station_id, said in settings.items()
        if said.get(SHOWS_COSTS, "").casefold() == "true"
    }


def _transaction_of(connection: Connection, fact: Recorded) -> Row[Any] | None:
    table = Transaction.__table__.c
    if fact.type != FactType.VENDOR_DATA:
        return connection.execute(select(Transaction.__table__).where(table.id == fact.subject)).one_or_none()
    if fact.data.get("vendor_id") != COST_MESSAGES or fact.data.get("message_id") != CONNECTOR_UNPLUGGED:
        return None
    number = unplugged_from(fact.data.get("data"))
    own = (table.number == number, table.station_id == fact.station_id)
    return connection.execute(select(Transaction.__table__).where(*own)).one_or_none()


def _tariff_version(connection: Connection, tariff_row: int) -> Row[Any]:
    table = TariffVersion.__table__
    return connection.execute(select(table).where(table.c.id == tariff_row)).one()


def _is_idle(connection: Connection, transaction: Row[Any]) -> bool:
    here = (Evse.station_id == transaction.station_id, Evse.evse == transaction.evse)
    found = connection.execute(select(func.count()).select_from(Evse).where(*here, Evse.status.in_(IDLE)))
    return found.scalar_one() > 0


def _meter_wh(transaction: Row[Any]) -> int:
    read = transaction.meter_last_mwh
    return int(read if read is not None else (transaction.meter_start_mwh or 0) + transaction.energy_mwh) // 1000

"""A bill explains itself: for each line which element of the tariff priced it and why, from which readings, with which steps
and rounding; told from what was kept with the record, and from nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, select

from csms.billing.restrictions import WEEKDAYS
from csms.clock import Rule, read
from csms.credits import REFUND, UnknownRecord
from csms.models import ChargeRecord, Review
from csms.models import Tariff as TariffVersion

MWH_PER_KWH: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class BoundaryTold:
    """The start or the end: the moment we bill by, what the charger claimed, when we received it, the rule that chose, and
    what the charger said the register showed."""

    what: str
    at: str
    claimed_at: str | None
    received_at: str | None
    rule: str | None
    why: str
    register_kwh: str | None


@dataclass(frozen=True, kw_only=True)
class SampleTold:
    """A reading: the event that brought it, when it was taken, and what the register showed."""

    event: str
    at: str
    register_kwh: str


@dataclass(frozen=True, kw_only=True)
class PeriodTold:
    """Times are the site's. `cut`: how the energy at its end was found. `samples`: the readings that lie in it."""

    number: int
    start: str
    end: str
    energy_kwh: str
    state: str
    cut: str
    samples: Sequence[SampleTold]


@dataclass(frozen=True, kw_only=True)
class LineTold:
    """`passed_over`: elements that come first and have the dimension, each with what did not hold."""

    dimension: str
    why: str
    passed_over: Sequence[str]
    quantity: str
    unit: str
    price: str
    steps: str | None
    vat: str
    excl_vat: str
    incl_vat: str
    periods: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """`notes`: flags, reviews, corrections, credits, in sentences."""

    record: str
    transaction: str
    kind: str
    tariff: str | None
    time_zone: str
    currency: str
    total_excl_vat: str
    total_incl_vat: str
    energy_kwh: str
    seconds: int
    parking_seconds: int
    boundaries: Sequence[BoundaryTold]
    lines: Sequence[LineTold]
    periods: Sequence[PeriodTold]
    rounding: str
    notes: Sequence[str]


def explain(connection: Connection, record_id: str) -> Explanation:
    """Of a charge record; UnknownRecord. Nothing is priced again here: `rebill` does that."""
    table = ChargeRecord.__table__
    record = connection.execute(select(table).where(table.c.id == record_id)).one_or_none()
    if record is None:
        raise UnknownRecord(record_id)
    versions, reviews = TariffVersion.__table__, Review.__table__
    tariff = connection.execute(select(versions).where(versions.c.id == record.tariff_row)).one_or_none()
    review = connection.execute(select(reviews).where(reviews.c.transaction_id == record.transaction_id)).one_or_none()
    credit = connection.execute(select(table).where(table.c.credit_reference_id == record_id)).one_or_none()
    return explanation_of(record, tariff, review, credit)


def explanation_of(record: Any, tariff: Any, review: Any, credit: Any) -> Explanation:
    """Of a record's row; the row of its tariff's version, of its transaction's review and of its credit, each None where
    there is none."""
    evidence: Mapping[str, Any] = record.evidence or {}
    zone = ZoneInfo(evidence.get("time_zone") or "UTC")
    elements = tariff.elements if tariff is not None else []
    session = evidence.get("session") or {}
    return Explanation(
        record=record.id,
        transaction=record.transaction_id,
        kind=_kind(record),
        tariff=f"{tariff.tariff_id}, version {tariff.version}" if tariff is not None else None,
        time_zone=zone.key,
        currency=record.currency,
        total_excl_vat=format(record.total_excl_vat, "f"),
        total_incl_vat=format(record.total_incl_vat, "f"),
        energy_kwh=_kwh(record.energy_mwh),
        seconds=record.duration_s,
        parking_seconds=record.parking_s,
        boundaries=[_boundary(what, record, session, zone) for what in ("started", "ended")],
        lines=[_line(line, elements, record.currency) for line in record.lines],
        periods=list(_periods(record, evidence, zone)),
        rounding=_rounding(evidence.get("rounding"), record.currency),
        notes=list(_notes(record, evidence, review, credit, zone)),
    )


def as_json(explanation: Explanation) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(explanation)
    return told


# ---- start and end --------------------------------------------------------------------------------------------------

WHY: Final = {
    Rule.CHARGER.value: "the charger's own time: it is within ten minutes of when we received it",
    Rule.OFFLINE.value: "the charger's own time: it was away then, and its clock is sound",
    Rule.SERVER_FUTURE.value: "when we received it: the charger claimed a time in the future",
    Rule.SERVER_PAST.value: "when we received it: the charger claimed a time that cannot be, for it was connected then",
    Rule.SERVER_MISSING.value: "when we received it: the charger claimed no time that can be read",
}
CORRECTED: Final = "a person corrected it"
METER: Final = {"started": "meter_start_mwh", "ended": "meter_stop_mwh"}


def _boundary(what: str, record: Any, session: Mapping[str, Any], zone: ZoneInfo) -> BoundaryTold:
    corrected = f"{what}_at" in ((record.snapshot.get("adjustment") or {}).get("after") or {})
    rule = session.get(f"{what}_rule")
    return BoundaryTold(
        what={"started": "start", "ended": "end"}[what],
        at=_local(getattr(record, f"{what}_at"), zone),
        claimed_at=_local(session.get(f"{what}_claimed_at"), zone) or None,
        received_at=_local(session.get(f"{what}_received_at"), zone) or None,
        rule=rule,
        register_kwh=_kwh(shown) if (shown := session.get(METER[what])) is not None else None,
        why=CORRECTED if corrected else WHY.get(rule or "", rule or "was not kept with this record"),
    )


# ---- lines ----------------------------------------------------------------------------------------------------------

BOUNDS: Final = {
    "MIN_PRICE": "the session's least price is {price} {currency} without VAT: this is what it took to reach it",
    "MAX_PRICE": "the session's highest price is {price} {currency} without VAT: this is what was above it",
    REFUND: "it was paid back by a person's decision",
}
PRICED_BY: Final = {"RESERVATION_FLAT": "FLAT", "RESERVATION_TIME": "TIME"}


def _line(line: Mapping[str, Any], elements: Sequence[Mapping[str, Any]], currency: str) -> LineTold:
    dimension, number = line["dimension"], line.get("element")
    quantity, measured = Decimal(line["quantity"]), Decimal(line.get("measured", line["quantity"]))
    why, passed_over = BOUNDS.get(dimension, "was not kept with this record"), []
    component: Mapping[str, Any] = {}
    if number is not None and number < len(elements):
        element, kind = elements[number], PRICED_BY.get(dimension, dimension)
        component = element["price_components"][line.get("component") or 0]
        rule = in_words(element.get("restrictions"))
        why = f"element {number + 1} is the first that prices {kind} and applied: {rule}"
        passed_over = [
            f"element {place}: {in_words(other.get('restrictions'))}"
            for place, other in enumerate(elements[:number], 1)
            if any(part["type"] == kind for part in other["price_components"])
            and (dimension not in PRICED_BY or (other.get("restrictions") or {}).get("reservation"))
        ]
    return LineTold(
        dimension=dimension,
        why=why.format(price=line["price"], currency=currency),
        passed_over=passed_over,
        quantity=line["quantity"],
        unit=line["unit"],
        price=line["price"],
        steps=_steps(dimension, measured, quantity, line["unit"], component),
        vat=_vat(line),
        excl_vat=line["excl_vat"],
        incl_vat=line["incl_vat"],
        periods=[index + 1 for index in line.get("periods") or ()],
    )


def _vat(line: Mapping[str, Any]) -> str:
    """A change of the total has no rate of its own."""
    if line["dimension"] in BOUNDS:
        return "with VAT"
    return "no VAT applies" if line["vat"] is None else f"{line['vat']} % VAT"


def _steps(dimension: str, measured: Decimal, quantity: Decimal, unit: str, component: Mapping[str, Any]) -> str | None:
    if measured == quantity:
        return None
    step = f"{component.get('step_size', 1)} {'Wh' if dimension == 'ENERGY' else 's'}"
    found = f"{measured.normalize():f} {unit} were measured"
    what = "reservation" if dimension in PRICED_BY else "session"
    return f"{found}; the {what}'s total is billed in whole steps of {step}, the rest is here"


def in_words(restrictions: Mapping[str, Any] | None) -> str:
    """What a tariff's restrictions ask for, as people say it: minima and starts included, maxima and ends not."""
    told = {name: value for name, value in (restrictions or {}).items() if value not in (None, [])}
    said = [words(told) for words in _WORDS]
    strange = sorted(told.keys() - _KNOWN)
    return ", ".join([*filter(None, said), *(f"{name} {told[name]}" for name in strange)]) or "always"


def _between(told: Mapping[str, Any], least: str, most: str, unit: str, of: str) -> str | None:
    low, high = told.get(least), told.get(most)
    if low is None and high is None:
        return None
    if low is None:
        return f"below {high} {unit}{of}"
    return f"from {low} {unit}{of} on" if high is None else f"from {low} to below {high} {unit}{of}"


def _hours(told: Mapping[str, Any]) -> str | None:
    if "start_time" not in told and "end_time" not in told:
        return None
    return f"from {told.get('start_time', '00:00')} to before {told.get('end_time', '24:00')}"


def _dates(told: Mapping[str, Any]) -> str | None:
    since, until = told.get("start_date"), told.get("end_date")
    parts = [f"since {since}" if since else None, f"before {until}" if until else None]
    return " and ".join(filter(None, parts)) or None


def _days(told: Mapping[str, Any]) -> str | None:
    days = sorted((str(day).upper() for day in told.get("day_of_week") or ()), key=WEEKDAYS.index)
    return f"on {', '.join(day.capitalize() for day in days)}" if days else None


def _kept(told: Mapping[str, Any]) -> str | None:
    return {"RESERVATION": "for a reservation", "RESERVATION_EXPIRES": "for a reservation that nobody used"}.get(
        str(told.get("reservation"))
    )


_WORDS = (
    _days,
    _hours,
    _dates,
    lambda told: _between(told, "min_kwh", "max_kwh", "kWh", " of the session"),
    lambda told: _between(told, "min_duration", "max_duration", "s", " after its start"),
    lambda told: _between(told, "min_current", "max_current", "A", " over all phases"),
    lambda told: _between(told, "min_power", "max_power", "kW", ""),
    _kept,
)
_KNOWN = {
    *("day_of_week", "start_time", "end_time", "start_date", "end_date", "reservation"),
    *(f"{bound}_{what}" for bound in ("min", "max") for what in ("kwh", "duration", "current", "power")),
}


# ---- periods --------------------------------------------------------------------------------------------------------


def _periods(record: Any, evidence: Mapping[str, Any], zone: ZoneInfo) -> Iterable[PeriodTold]:
    cuts, samples = evidence.get("cuts") or (), evidence.get("samples") or ()
    last = len(record.periods)
    for number, period in enumerate(record.periods, 1):
        cut = cuts[number - 1] if number <= len(cuts) else None
        yield PeriodTold(
            number=number,
            start=_local(period["start"], zone),
            end=_local(period["end"], zone),
            energy_kwh=_kwh(period["energy_mwh"]),
            state=_state(period),
            cut=_cut(cut, zone) if cut else "the end" if number == last else "was not kept with this record",
            samples=[
                SampleTold(event=event, at=_local(at, zone), register_kwh=_kwh(shown))
                for event, at, shown in (samples[number - 1] if number <= len(samples) else ())
            ],
        )


def _state(period: Mapping[str, Any]) -> str:
    measured = [
        f"{period[name]} {unit}"
        for name, unit in (("current_a", "A"), ("power_w", "W"))
        if period.get(name) is not None
    ]
    state = "parked: the car asked for no power" if period.get("parking") else "charging"
    return f"{state} ({', '.join(measured)} measured)" if measured else state


def _cut(cut: Mapping[str, Any], zone: ZoneInfo) -> str:
    before, after, at = cut["before"], cut["after"], cut["at"]
    passed = _kwh(cut["passed_mwh"])
    for known in (before, after):
        if read(known["at"]) == read(at) and known["passed_mwh"] == cut["passed_mwh"]:
            return f"{passed} kWh had passed: {_point(known, zone)}"
    return f"{passed} kWh had passed, interpolated between {_point(before, zone)} and {_point(after, zone)}"


def _point(known: Mapping[str, Any], zone: ZoneInfo) -> str:
    at, passed = _local(known["at"], zone), _kwh(known["passed_mwh"])
    if known["event"] is None and known["shown_mwh"] is None:
        return f"{passed} kWh at {at}"
    return f"{passed} kWh at {at} (the register showed {_kwh(known['shown_mwh'])} kWh)"


# ---- the rest -------------------------------------------------------------------------------------------------------


def _kind(record: Any) -> str:
    if record.credit:
        return f"a credit: it takes back {record.credit_reference_id}"
    return f"a corrected bill, in the place of {record.corrects}" if record.corrects else "a bill"


def _rounding(told: Mapping[str, Any] | None, currency: str) -> str:
    if told is None:
        return "was not kept with this record"
    half = "half to the even digit" if told["to_even"] else "half up"
    return (
        f"amounts in {currency} have {told['decimals']} decimals, {half}; each line is the difference of two rounded running "
        "sums, so that the lines add up to the total"
    )


def _notes(record: Any, evidence: Mapping[str, Any], review: Any, credit: Any, zone: ZoneInfo) -> Iterable[str]:
    session = evidence.get("session") or {}
    if record.credit:
        yield f"The lines are those of {record.credit_reference_id}; its totals are negated, so that nothing is left to pay."
    if not evidence:
        yield "It was made before records kept their evidence."
    if cause := session.get("cause"):
        yield f"The session ended: {cause}."
    if flags := session.get("flags"):
        yield f"Flags: {', '.join(flags)}."
    if findings := session.get("findings"):
        yield f"Its meter's story: {', '.join(findings)}."
    if kept := evidence.get("reservation"):
        times = f"from {_local(kept['start'], zone)} to {_local(kept['end'], zone)}"
        yield f"The EVSE was kept for it by reservation {kept['number']} {times}."
    for status in evidence.get("statuses") or ():
        began = "the car asked for no power any more" if status["status"] == "suspended_ev" else "that was over"
        yield f"{_local(status['at'], zone)}: the EVSE told {status['status']}, {began}."
    if review is not None:
        reasons = ", ".join(review.reasons)
        decided = (
            f"; {review.state} by {review.decided_by or 'a rule'}: {review.decision or '-'}" if review.closed_at else ""
        )
        yield f"It waited for a person ({reasons}){decided}."
    if adjustment := record.snapshot.get("adjustment"):
        changes = ", ".join(_changes(adjustment, zone)) or "back to what it was at first"
        yield f"{adjustment.get('by') or 'A person'} corrected it ({adjustment.get('reason') or '-'}): {changes}."
        if "energy_mwh" in adjustment["after"]:
            yield "Its energy is that person's word, spread evenly over the session; what the register showed is not used."
    if record.decided_by:
        yield f"It was made by {record.decided_by}: {record.decision or '-'}."
    if remark := record.snapshot.get("remark"):
        yield f"{remark}."
    if credit is not None:
        yield f"It was taken back by {credit.id} ({credit.decided_by or '-'}: {credit.decision or '-'})."


CHANGED: Final = {"energy_mwh": "energy", "started_at": "start", "ended_at": "end", "tariff": "tariff"}


def _changes(adjustment: Mapping[str, Any], zone: ZoneInfo) -> Iterable[str]:
    before = adjustment["before"]
    for name, value in adjustment["after"].items():
        was, is_ = (_changed(name, one, zone) for one in (before[name], value))
        yield f"{CHANGED[name]} from {was} to {is_}"


def _changed(name: str, value: Any, zone: ZoneInfo) -> str:
    if name == "energy_mwh":
        return f"{_kwh(value)} kWh"
    if name == "tariff":
        return f"{value['tariff_id']}, version {value['version']}" if value else "none"
    return _local(value, zone)


def _local(moment: datetime | str | None, zone: ZoneInfo) -> str:
    """With its offset, which tells apart the two passes of an hour that a clock repeats."""
    at = read(moment) if isinstance(moment, str) else moment
    if at is None:
        return ""
    local = at.astimezone(zone)
    return local.isoformat(" ", "milliseconds" if local.microsecond else "seconds")


def _kwh(mwh: int) -> str:
    return format((Decimal(mwh) / MWH_PER_KWH).normalize(), "f")

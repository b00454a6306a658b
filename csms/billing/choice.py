"""With which of its connector's tariffs a session begins: the first that is in force, meant for who pays, and of its kind."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from csms import clock

REGULAR = "REGULAR"
AD_HOC = "AD_HOC_PAYMENT"


@dataclass(frozen=True, kw_only=True)
class Payer:
    """Who pays for sessions: a partner, by its name here and its parties as "DE*TNM"; or the operator's own customers, who
    have neither."""

    name: str | None = None
    parties: Collection[str] = ()


OPERATOR = Payer()


class Told(StrEnum):
    """What a tariff with dates is at a moment."""

    AWAITED = "awaited"
    IN_FORCE = "in_force"
    OVER = "over"


def begin_with(tariffs: Sequence[Any], payer: Payer, kinds: Sequence[str], at: datetime) -> Any | None:
    """Of the rows of a connector's tariffs, in the connector's order, the one to begin with at `at`; None when none fits.

    `kinds` of the session, the preferred first; a tariff without a type is for all (TA-12).
    """
    fitting = [tariff for tariff in tariffs if is_for(tariff, payer) and phase(tariff, at) in (None, Told.IN_FORCE)]
    of_kind = (tariff for kind in kinds for tariff in fitting if tariff.type in (None, kind))
    return next(of_kind, None)


def offered(tariffs: Iterable[Any]) -> list[Any]:
    """Of a connector's tariffs that one reader may know those that it is shown there: never two that would be in force at
    one time for one kind of session, of which it would pay the first (LO-49)."""
    kept: list[Any] = []
    for tariff in tariffs:
        if not any(outranks(first, tariff) for first in kept):
            kept.append(tariff)
    return kept


def outranks(first: Any, later: Any) -> bool:
    """Whether `later`, named behind `first` on a connector, would begin no session at some moment for whoever pays by both."""
    return first.type in (None, later.type) and _overlap(first, later)


def _overlap(one: Any, other: Any) -> bool:
    return all(
        begin is None or end is None or begin < end
        for begin, end in (
            (_moment(one, "start_date_time"), _moment(other, "end_date_time")),
            (_moment(other, "start_date_time"), _moment(one, "end_date_time")),
        )
    )


def covers(first: Any, later: Any) -> bool:
    """Whether everybody whom `later` is for may also pay by `first`."""
    wide, narrow = ((tariff.details or {}).get("partners") for tariff in (first, later))
    if wide is None or narrow is None:
        return wide is None
    if not wide or not narrow:
        return not wide and not narrow
    return {partner.casefold() for partner in narrow} <= {partner.casefold() for partner in wide}


def is_for(tariff: Any, payer: Payer) -> bool:
    """`partners` of a tariff are names or parties; a tariff without is for everybody, one with an empty list for the
    operator's own customers alone (TA-06)."""
    partners = (tariff.details or {}).get("partners")
    if not partners:
        return partners is None or payer == OPERATOR
    mine = {word.casefold() for word in (payer.name, *payer.parties) if word is not None}
    return any(partner.casefold() in mine for partner in partners)


def phase(tariff: Any, at: datetime) -> Told | None:
    """None for a tariff without dates, which is always in force. It is from its first moment until before its last (TA-17)."""
    begin, end = (_moment(tariff, name) for name in ("start_date_time", "end_date_time"))
    if begin is None and end is None:
        return None
    if begin is not None and at < begin:
        return Told.AWAITED
    return Told.IN_FORCE if end is None or at < end else Told.OVER


def kinds_of(card: Any | None) -> tuple[str, ...]:
    """The kinds of session that a card's row begins. Its owner's wish (cheap, fast, green) is served by its tariff where
    there is one; who pays at the spot, with what the operator itself sold, pays the price that is shown there."""
    if card is None:
        return (REGULAR,)
    if card.owner_id == 0 and card.type == "AD_HOC_USER":
        return (AD_HOC,)
    wish = (card.details or {}).get("default_profile_type")
    return (REGULAR,) if wish in (None, REGULAR) else (f"PROFILE_{wish}", REGULAR)


def _moment(tariff: Any, name: str) -> datetime | None:
    said = (tariff.details or {}).get(name)
    return clock.read(said) if said else None

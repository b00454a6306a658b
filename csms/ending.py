"""Which transaction an end is of, though its charger may name it wrongly or not at all (X04)."""

from typing import Any

from sqlalchemy import Connection, select

from csms.events import TransactionEnded
from csms.lifecycle import Flag, State
from csms.models import Transaction
from csms.samples import number_of
from csms.standing import Row_, Standing, lost_start_key
from csms.tokens import normalize

_T = Transaction.__table__


def ended_by(event: TransactionEnded, standing: Standing, connection: Connection) -> Row_ | None:
    """What this end has ended before; else by its number at this very station; else the one that still runs there and fits
    by time, meter and card. None: its start was never seen."""
    if repeated := standing.repeats(event.station_id, lost_start_key(event)):
        return repeated[0]
    for transaction in standing.transactions:
        if transaction["station_id"] == event.station_id and is_named(transaction, event.transaction_ref):
            return transaction
    if ended := _ended_before(event, connection):
        return ended
    judged = standing.judge(event)
    candidates = [
        t
        for t in standing.running_at(event.station_id)
        if (judged.skewed or t["started_at"] <= judged.at)
        and (
            event.meter_stop_mwh is None or t["meter_start_mwh"] is None or t["meter_start_mwh"] <= event.meter_stop_mwh
        )
    ]
    fitting = [t for t in candidates if event.id_token and is_of_card(event.id_token, t, standing)]
    if not fitting and standing.cards.get(normalize(event.id_token or "")):
        return None  # a card that started none of these: theirs is yet to come
    return next(iter(fitting or candidates), None)


def is_named(transaction: Row_, transaction_ref: str) -> bool:
    """Whether the charger speaks of it: by our number, or by its own id where the version has one. The number of a start
    that we never saw was never told to anybody."""
    if Flag.MISSING_START in transaction["flags"]:
        return False
    if transaction["transaction_ref"] is not None:
        return bool(transaction["transaction_ref"] == transaction_ref)
    return bool(transaction["number"] == number_of(transaction_ref))


def _ended_before(event: TransactionEnded, connection: Connection) -> Row_ | None:
    """An end without a number of ours is known again by its time and meter: sent twice, it must not end the next
    transaction."""
    if event.occurred_at is None:
        return None
    query = select(_T).where(
        _T.c.station_id == event.station_id,
        _T.c.state == State.ENDED.value,
        _T.c.ended_claimed_at == event.occurred_at,
        _T.c.meter_stop_mwh == event.meter_stop_mwh,
    )
    row = connection.execute(query.limit(1)).one_or_none()
    return dict(row._mapping) if row is not None else None


def is_of_card(id_token: str, transaction: Row_, standing: Standing) -> bool:
    """The card that started it, under whichever uid, or one of its group."""
    key = normalize(id_token)
    return (
        key == transaction["id_token_key"]
        or any(card.id == transaction["token_id"] for card in standing.cards.get(key, ()))
        or _same_group(standing.choose(id_token).token, transaction)
    )


def _same_group(card: Any, transaction: Row_) -> bool:
    started = (transaction["snapshot"] or {}).get("token")
    if card is None or started is None or not card.group_id or card.owner_id != transaction["owner_id"]:
        return False
    return bool(card.group_id.casefold() == (started["group_id"] or "").casefold())

"""An event that came by a bus may come again: whoever commits it first keeps its reply, and the others give the same."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, Table, select

from csms.database import insert_into
from csms.events import AnyEvent, BootReply
from csms.models import HandledEvent

_TABLE = cast(Table, HandledEvent.__table__)


class HandledMeanwhile(Exception):
    """Another worker committed one of these events: the batch must begin again."""


def replies(connection: Connection, events: Sequence[AnyEvent], now: datetime) -> Mapping[str, Any]:
    """By event id, the replies of those that were handled before."""
    by_id = {event.event_id: event for event in events}
    query = select(HandledEvent.event_id, HandledEvent.reply).where(HandledEvent.event_id.in_(by_id))
    return {event_id: _again(by_id[event_id], reply, now) for event_id, reply in connection.execute(query)}


def keep(connection: Connection, replies: Mapping[str, Any], now: datetime) -> None:
    """In the transaction that handled them. Waits for whoever is committing the same event, and raises HandledMeanwhile
    when it did."""
    rows = [
        {"event_id": event_id, "handled_at": now, "reply": msgspec.msgpack.encode(reply)}
        for event_id, reply in sorted(replies.items())
    ]
    if not rows:
        return
    statement = insert_into(connection, _TABLE).on_conflict_do_nothing().returning(_TABLE.c.event_id)
    if len(connection.execute(statement, rows).all()) < len(rows):
        raise HandledMeanwhile


def _again(event: AnyEvent, data: bytes, now: datetime) -> Any:
    reply: Any = msgspec.msgpack.decode(data, type=event.reply_type())
    return msgspec.structs.replace(reply, current_time=now) if isinstance(reply, BootReply) else reply

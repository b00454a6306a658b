"""What came by a bus may come again: whoever commits it first keeps its reply, and the others give the same.

A bus is between processes that share a PostgreSQL; each statement here takes a whole batch as arrays, a fifth of what it takes
as rows.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection

from csms.events import AnyEvent, BootReply
from csms.prepared import driver

_FIND: Final = "SELECT event_id, reply FROM handled_events WHERE event_id = ANY(%(ids)s)"
_KEEP: Final = (
    "INSERT INTO handled_events (event_id, handled_at, reply)"
    " SELECT event_id, %(now)s, reply FROM unnest(%(ids)s::text[], %(replies)b::bytea[]) AS given (event_id, reply)"
    " ON CONFLICT DO NOTHING"
)
_FIRST: Final = (
    "INSERT INTO handled_events (event_id, handled_at, reply)"
    " SELECT event_id, %(now)s, '' FROM unnest(%(ids)s::text[]) AS given (event_id)"
    " ON CONFLICT DO NOTHING RETURNING event_id"
)


class HandledMeanwhile(Exception):
    """Another worker committed one of these events: the batch must begin again."""


def replies(connection: Connection, events: Sequence[AnyEvent], now: datetime) -> Mapping[str, Any]:
    """By event id, the replies of those that were handled before."""
    by_id = {event.event_id: event for event in events}
    with driver(connection, _FIND) as raw:
        found = raw.execute(_FIND, {"ids": list(by_id)}).fetchall()
    return {event_id: _again(by_id[event_id], reply, now) for event_id, reply in found}


def keep(connection: Connection, replies: Mapping[str, Any], now: datetime) -> None:
    """In the transaction that handled them. Waits for whoever is committing the same event, and raises HandledMeanwhile
    when it did."""
    ids = sorted(replies)  # the same order in every worker, so that two never wait for each other
    given = [msgspec.msgpack.encode(replies[event_id]) for event_id in ids]
    with driver(connection, _KEEP) as raw:
        kept = raw.execute(_KEEP, {"ids": ids, "replies": given, "now": now}).rowcount
    if kept < len(ids):
        raise HandledMeanwhile


def first(connection: Connection, ids: Collection[str], now: datetime) -> Set[str]:
    """Of what needs no reply: those that nobody has handled before; they are handled with the transaction. Waits for whoever
    is committing the same."""
    with driver(connection, _FIRST) as raw:
        return {event_id for (event_id,) in raw.execute(_FIRST, {"ids": sorted(ids), "now": now})}


def _again(event: AnyEvent, data: bytes, now: datetime) -> Any:
    reply: Any = msgspec.msgpack.decode(data, type=event.reply_type())
    return msgspec.structs.replace(reply, current_time=now) if isinstance(reply, BootReply) else reply

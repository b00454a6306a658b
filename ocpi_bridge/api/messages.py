"""The message log: searched, each request beside its answer, by an address that stays, and live as it grows."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from csms.message_store import Entry, Exchange, Wanted, exchange_of, of_transaction, page
from csms.users import KeyHolder, Role
from ocpi_bridge.api.asked import (
    PLAIN,
    Asked,
    Moment,
    Name,
    Number,
    Page,
    Paging,
    Route,
    cursor_number,
    protocol,
    version_of,
)
from ocpi_bridge.api.problems import Problem, not_found
from ocpi_bridge.api.tail import Tail, TooManyReaders
from ocpi_bridge.masking import without_cards

HEARTBEAT_S = 15.0
LOOK_S = 1.0  # how long a revoked key may go on reading


class Direction(StrEnum):
    IN = "in"  # from the station
    OUT = "out"  # to it


Spelled = Annotated[str, Meta(max_length=20, pattern=PLAIN, description="As 1.6J.")]


class MessagesQuery(Paging, frozen=True, kw_only=True):
    """`action` in any case. `direction` is that of the request. `errors`: only what did not go well. `transaction`: its id;
    what names it. `text`: what a frame holds, for operators; without a station it looks at a bounded number of the newest."""

    station: Name | None = None
    action: Name | None = None
    message_id: Name | None = None
    transaction: Name | None = None
    direction: Direction | None = None
    protocol: Spelled | None = None
    errors: bool = False
    text: Annotated[str, Meta(min_length=1, max_length=200, pattern=PLAIN)] | None = None
    since: Moment | None = None
    until: Moment | None = None


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One frame as it crossed the wire, without secrets. `id` is a number of up to 63 bits, as text. `latency_ms` stands on
    an answer: the time since its request."""

    id: str
    at: datetime
    station_id: str
    protocol: str | None
    direction: str
    message_type: str
    message_id: str
    action: str
    result: str
    latency_ms: float | None
    text: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A request with its answer, null while there is none; or a frame that is alone. `href` stays."""

    id: str
    href: str
    at: datetime
    station_id: str
    protocol: str | None
    direction: str
    action: str
    message_id: str
    result: str
    latency_ms: float | None
    request: Frame
    answer: Frame | None


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`after`: begin behind this frame (as Last-Event-ID, for who cannot set headers)."""

    station: Name | None = None
    action: Name | None = None
    direction: Direction | None = None
    errors: bool = False
    after: Number | None = None


def list_messages(asked: Asked[MessagesQuery, None]) -> Page[Message]:
    wanted, query = _wanted(asked), asked.query
    before = cursor_number(query.after)
    with asked.given.database.log_engine.connect() as connection:
        found = page(connection, wanted, before=before, limit=query.limit)
    items = [_message(exchange, asked.frame) for exchange in reversed(found.exchanges)]
    return Page(items=items, next=None if found.more_before is None else str(found.more_before))


def message(asked: Asked[None, None]) -> Message:
    with asked.given.database.log_engine.connect() as connection:
        exchange = exchange_of(connection, asked.path["id"])
    if exchange is None:
        raise not_found("message", asked.path["id"])
    return _message(exchange, asked.frame)


async def stream(live: Any) -> Response:
    """Server-Sent Events: `frame` with the frame's id, `missed` with how many a slow reader was not told."""
    query, tail = live.query, live.api.tail
    last = live.request.headers.get("last-event-id", "").strip()
    after = query.after
    if last:
        after = cursor_number(last)
    reading = tail.reading()
    try:
        reader = await reading.__aenter__()
    except TooManyReaders:
        detail = "as many as are served at once read the log already"
        raise Problem(status=503, code="too_many_readers", detail=detail, headers={"Retry-After": "10"}) from None

    async def events() -> AsyncIterator[bytes]:
        try:
            async for event in _events(tail, reader, after, query, live.holder, live.still):
                yield event
        finally:
            await reading.__aexit__(None, None, None)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


async def _events(
    tail: Tail, reader: Any, after: int | None, query: StreamQuery, holder: KeyHolder, still: Callable[[], Any]
) -> AsyncIterator[bytes]:
    show = (lambda text: text) if holder.may(Role.OPERATOR) else without_cards
    yield b": here\n\n"
    told = reader.position
    if after is not None:
        async for entry in tail.since(after, reader.position):
            if _fits(entry, query):
                yield _event(entry, show)
    quiet = 0.0
    while not reader.over:
        entries, missed = await reader.take(LOOK_S)
        if await still() is None:
            return  # the key was revoked
        if missed:
            yield f"event: missed\ndata: {missed}\n\n".encode()
        for entry in entries:
            if entry.id > told and _fits(entry, query):
                yield _event(entry, show)
        quiet = 0.0 if entries else quiet + LOOK_S
        if quiet >= HEARTBEAT_S:
            quiet = 0.0
            yield b": still here\n\n"


def _fits(entry: Entry, query: StreamQuery) -> bool:
    request = entry.direction if entry.begins else {"in": "out", "out": "in"}.get(entry.direction)
    return (
        (query.station is None or entry.station_id == query.station)
        and (query.action is None or entry.action.casefold() == query.action.casefold())
        and (query.direction is None or request == query.direction.value)
        and (not query.errors or entry.result != "ok")
    )


def _event(entry: Entry, show: Callable[[str], str]) -> bytes:
    data = msgspec.json.encode(_frame(entry, show))
    return b"id: %d\nevent: frame\ndata: %s\n\n" % (entry.id, data)


def _wanted(asked: Asked[MessagesQuery, None]) -> Wanted:
    query = asked.query
    if query.text is not None and not asked.holder.may(Role.OPERATOR):
        detail = "a viewer does not see card numbers, and cannot search for them"
        raise Problem(status=403, code="not_allowed", detail=detail)
    wanted = Wanted(
        station=query.station,
        action=query.action,
        message_id=query.message_id,
        direction=None if query.direction is None else query.direction.value,
        ocpp_version=version_of(query.protocol),
        since=query.since,
        until=query.until,
        errors=query.errors,
        text=query.text,
    )
    if query.transaction is None:
        return wanted
    found = of_transaction(asked.connection, query.transaction)
    if found is None:
        raise not_found("transaction", query.transaction)
    since = max(at for at in (wanted.since, found.since) if at is not None)
    until = min((at for at in (wanted.until, found.until) if at is not None), default=None)
    if wanted.station not in (None, found.station):
        return replace(wanted, message_id="", station=found.station)  # nothing names it there
    return replace(wanted, station=found.station, since=since, until=until, naming=found.naming)


def _message(exchange: Exchange, show: Callable[[str], str]) -> Message:
    first, latency = exchange.first, exchange.latency_ms
    return Message(
        id=str(first.id),
        href=f"/api/v1/messages/{first.id}",
        at=first.at,
        station_id=first.station_id,
        protocol=protocol(first.ocpp_version),
        direction=first.direction,
        action=first.action,
        message_id=first.message_id,
        result=exchange.result,
        latency_ms=None if latency is None else round(latency, 3),
        request=_frame(first, show),
        answer=None if exchange.answer is None else _frame(exchange.answer, show),
    )


def _frame(entry: Entry, show: Callable[[str], str]) -> Frame:
    return Frame(
        id=str(entry.id),
        at=entry.at,
        station_id=entry.station_id,
        protocol=protocol(entry.ocpp_version),
        direction=entry.direction,
        message_type=entry.message_type,
        message_id=entry.message_id,
        action=entry.action,
        result=entry.result,
        latency_ms=entry.latency_ms,
        text=show(entry.text),
    )


ROUTES: Sequence[Route] = (
    Route(
        method="GET",
        path="/messages",
        role=Role.VIEWER,
        summary="The message log, requests beside their answers, the newest first.",
        handler=list_messages,
        query=MessagesQuery,
        output=Page[Message],
        problems=(404,),
    ),
    Route(
        method="GET",
        path="/messages/stream",
        role=Role.VIEWER,
        summary="The frames as they cross the wire (Server-Sent Events); goes on behind Last-Event-ID.",
        handler=stream,
        query=StreamQuery,
        live=True,
    ),
    Route(
        method="GET",
        path="/messages/{id}",
        role=Role.VIEWER,
        summary="The request and answer that hold a frame.",
        handler=message,
        output=Message,
        path_types={"id": Number},
    ),
)

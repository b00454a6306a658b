"""What stations were asked, and what became of it."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import or_, select

from csms import (
    commands,
    requests,
)
from csms.commands import Command
from csms.models import RemoteRequest
from csms.users import Role
from ocpi_bridge.api.asked import (
    Asked,
    Name,
    Page,
    Paging,
    Route,
    Text,
    cursor_time,
    paged,
    time_cursor,
)
from ocpi_bridge.api.asking import CommandSent, StartAt, ask, start_at
from ocpi_bridge.api.problems import not_found
from ocpi_bridge.api.wishes import AnyAsk

CARDS = ("id_token", "tag", "tag_key", "group_id")  # whose values are numbers of cards


class CommandsQuery(Paging, frozen=True, kw_only=True):
    """`by`: who asked, as api:NAME, cli:USER, partner:ID, job:NAME."""

    station: Name | None = None
    state: Text | None = None
    kind: Text | None = None
    by: Name | None = None


class CommandRow(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: queued, sent, accepted, rejected, timed_out, failed, offline, started, no_start. `effect`: what should follow
    an acceptance (a Boot after a reset): awaited, seen, missing."""

    id: str
    kind: str
    station_id: str
    evse: int | None
    state: str
    outcome: str | None
    detail: str | None
    requested_by: str
    reason: str | None
    transaction_id: str | None
    effect: str | None
    effect_by: datetime | None
    effect_at: datetime | None
    created_at: datetime
    deadline_at: datetime
    finished_at: datetime | None


class CommandDetail(msgspec.Struct, frozen=True, kw_only=True):
    """`command` and `answer` without what is secret in them."""

    request: CommandRow
    command: Any
    answer: Any


def list_commands(asked: Asked[CommandsQuery, None]) -> Page[CommandRow]:
    wanted, after = asked.query, cursor_time(asked.query.after)
    row = RemoteRequest
    query = select(row.__table__).order_by(row.created_at.desc(), row.id.desc()).limit(wanted.limit + 1)
    if after is not None:
        at, id_ = after
        query = query.where(or_(row.created_at < at, (row.created_at == at) & (row.id < id_)))
    for column, value in (
        (row.station_id, wanted.station),
        (row.state, wanted.state),
        (row.kind, wanted.kind),
        (row.requested_by, wanted.by),
    ):
        if value is not None:
            query = query.where(column == value)
    rows = asked.connection.execute(query).all()
    return paged(rows, wanted.limit, lambda row: time_cursor(row.created_at, row.id), lambda row: _row(row, asked))


def command(asked: Asked[None, None]) -> CommandDetail:
    query = select(RemoteRequest.__table__).where(RemoteRequest.id == asked.path["id"])
    row = asked.connection.execute(query).one_or_none()
    if row is None:
        raise not_found("command", asked.path["id"])
    asked_for, answer = (asked.value(_shown(value, asked)) for value in (_kept(row), row.answer))
    return CommandDetail(request=_row(row, asked), command=asked_for, answer=answer)


def _kept(row: Any) -> Any:
    """Without the secrets that a request has until it is sent."""
    if row.state not in ("queued", "sent") or row.command is None:
        return row.command
    try:
        read: Command[Any] = msgspec.convert(row.command, commands.AnyCommand)
    except msgspec.ValidationError:
        return None
    return requests.told(read)


def _shown(value: Any, asked: Asked[Any, Any]) -> Any:
    if isinstance(value, dict):
        return {
            key: asked.card(entry) if key in CARDS and isinstance(entry, str) else _shown(entry, asked)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [_shown(entry, asked) for entry in value]
    return value


def _row(row: Any, asked: Asked[Any, Any]) -> CommandRow:
    known = {name: getattr(row, name) for name in CommandRow.__struct_fields__}
    return CommandRow(**{**known, "detail": asked.words(row.detail)})


ROUTES = (
    Route(
        method="POST",
        path="/starts",
        role=Role.OPERATOR,
        summary="Start where a driver scanned a code, for a card that is known.",
        handler=start_at,
        body=StartAt,
        output=CommandSent,
        status=202,
        problems=(404,),
    ),
    Route(
        method="POST",
        path="/stations/{station_id}/commands",
        role=Role.OPERATOR,
        summary="Ask a station for something; what becomes of it is told at the address in Location.",
        handler=ask,
        body=AnyAsk,
        output=CommandSent,
        status=202,
    ),
    Route(
        method="GET",
        path="/commands",
        role=Role.VIEWER,
        summary="What stations were asked, the newest first.",
        handler=list_commands,
        query=CommandsQuery,
        output=Page[CommandRow],
    ),
    Route(
        method="GET",
        path="/commands/{id}",
        role=Role.VIEWER,
        summary="A request with what was sent and what was answered.",
        handler=command,
        output=CommandDetail,
    ),
)

"""A question to a charger goes through the table of remote requests: the service sends it, we wait beside the row."""

import os
import pwd
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer
from sqlalchemy import Connection, Row, or_, select

from csms import requests, tokens
from csms.authorization import choose
from csms.commands import (
    ChangeAvailability,
    ChangeConfiguration,
    ClearCache,
    Command,
    ExtendedTriggerMessage,
    GetConfiguration,
    ResetStation,
    SendVendorData,
    StartRemotely,
    StopRemotely,
    TriggerKind,
    TriggerMessage,
    UnlockConnector,
)
from csms.configuration import own_way
from csms.database import Database
from csms.models import RemoteRequest, Transaction
from csms.sealing import Vault
from csms.stations import must_exist
from ocpi_bridge.commands.terminal import Failed, now, opened, say, show
from ocpi_bridge.settings import load

POLL_S = 0.1
GRACE_S = 3.0  # the service looks at the table a few times a second, and writes the outcome after it has it
EXTENDED_ONLY = (TriggerKind.LOG_STATUS, TriggerKind.SIGN_CERTIFICATE)
PLAIN_ONLY = (TriggerKind.DIAGNOSTICS_STATUS,)
GOOD = ("accepted", "started")
WAITING = ("queued", "sent")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """`token_id`: the row of the card that a remote start names, when it is one that is known."""

    command: Command[Any]
    token_id: int | None = None


def ask(command: Command[Any], *, timeout_s: float, token_id: int | None = None) -> Row[Any]:
    """The row of the request once it has an outcome, or when its time is over."""

    def enqueue(connection: Connection) -> str:
        must_exist(connection, command.station_id)
        return requests.enqueue(
            connection, command, requested_by=requester(), now=now(), timeout_s=timeout_s, token_id=token_id
        )

    return asked(enqueue, timeout_s)


def asked(verb: Callable[[Connection], str], timeout_s: float) -> Row[Any]:
    """The row of the request that `verb` made, once it has an outcome or its time is over."""
    with opened() as database:
        with database.write() as connection:
            request_id = verb(connection)
        return waited(database, request_id, timeout_s)


def waited(database: Database, request_id: str, timeout_s: float) -> Row[Any]:
    """The row of a request once it has an outcome, or when its time is over."""
    until = time.monotonic() + timeout_s + GRACE_S
    while True:
        with database.read() as connection:
            row = connection.execute(select(RemoteRequest.__table__).where(RemoteRequest.id == request_id)).one()
        if row.state not in WAITING or time.monotonic() > until:
            return row
        time.sleep(POLL_S)


def tell(row: Row[Any]) -> None:
    """Prints what became of it; anything but a yes is a failure."""
    if row.state == "queued":
        raise Failed("nobody took the request: is `roambridge serve` running on this database?")
    if row.state == "sent":
        raise Failed(f"{row.station_id} has not answered")
    said = f"{row.station_id}: {row.outcome}" + (f" ({row.detail})" if row.detail else "")
    if row.state not in GOOD:
        raise Failed(said)
    answer = row.answer or {}
    settings = answer.get("settings") or []
    if settings:
        columns = {"key": "key", "value": "value", "readonly": "read only"}
        rows = [{"key": s.get("key"), "value": s.get("value"), "readonly": bool(s.get("readonly"))} for s in settings]
        show(row.station_id, columns, rows, as_json=False)
    if answer.get("unknown"):
        say(f"unknown to {row.station_id}: {', '.join(answer['unknown'])}")
    if not settings:
        say(said)
    if answer.get("data"):
        say(str(answer["data"]))


def requester() -> str:
    """Who asks, as requests keep it."""
    return f"cli:{login_name()}"


def login_name() -> str:
    """Who sits there, as the operating system knows them: nothing that they could say of themselves."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())


# ---- words to commands ----------------------------------------------------------------------------------------------


def read_command(connection: Connection, station_id: str, name: str, arguments: Sequence[str]) -> Asked:
    """`name` as get-configuration, get_configuration or GetConfiguration. Wrong usage is a typer.BadParameter."""
    wanted = name.replace("-", "").replace("_", "").casefold()
    found = {known.replace("-", ""): known for known in COMMANDS}.get(wanted)
    if found is None:
        raise typer.BadParameter(f"{name} is none of {', '.join(COMMANDS)}")
    usage, least, most, read = COMMANDS[found]
    if not least <= len(arguments) <= most:
        raise typer.BadParameter(f"usage: {found} {usage}".strip())
    return read(connection, station_id, arguments)


def _start(connection: Connection, station_id: str, arguments: Sequence[str]) -> Asked:
    evse = _number(arguments[1]) if len(arguments) > 1 else None
    cards = tokens.by_key(connection, [key := tokens.normalize(arguments[0])]).get(key, ())
    card = choose(cards).token
    if cards and card is None:
        raise Failed(f"{tokens.masked(arguments[0])} is a card of several partners")
    tag = arguments[0] if card is None else requests.tag_for(connection, card)
    if len(tag) > requests.WIRE_TAG_LENGTH:
        raise Failed(f"{tokens.masked(tag)} is no known card, and too long to be sent as it is")
    command = StartRemotely(station_id=station_id, id_token=tag, evse=evse)
    return Asked(command=command, token_id=None if card is None else card.id)


def _stop(connection: Connection, station_id: str, arguments: Sequence[str]) -> Asked:
    """By our id, our number or the charger's own reference."""
    [given] = arguments
    number = int(given) if given.isdecimal() and len(given) < 10 else -1
    which = or_(Transaction.id == given, Transaction.transaction_ref == given, Transaction.number == number)
    query = select(Transaction.number, Transaction.transaction_ref).where(Transaction.station_id == station_id, which)
    row = connection.execute(query).first()
    if row is None:
        raise Failed(f"{station_id} has no transaction {given}")
    return Asked(command=StopRemotely(station_id=station_id, transaction_ref=row.transaction_ref or str(row.number)))


def _availability(_: Connection, station_id: str, arguments: Sequence[str]) -> Asked:
    evse, state = arguments
    if state.casefold() not in ("operative", "inoperative"):
        raise typer.BadParameter(f"{state} is neither operative nor inoperative")
    operative = state.casefold() == "operative"
    return Asked(command=ChangeAvailability(station_id=station_id, evse=_number(evse), operative=operative))


def _trigger(_: Connection, station_id: str, arguments: Sequence[str]) -> Asked:
    kind, evse = _what(arguments)
    if kind in EXTENDED_ONLY:
        raise typer.BadParameter(f"{arguments[0]} is a kind of extended-trigger")
    return Asked(command=TriggerMessage(station_id=station_id, kind=kind, evse=evse))


def _extended_trigger(_: Connection, station_id: str, arguments: Sequence[str]) -> Asked:
    kind, evse = _what(arguments)
    if kind in PLAIN_ONLY:
        raise typer.BadParameter(f"{arguments[0]} is a kind of trigger-message")
    return Asked(command=ExtendedTriggerMessage(station_id=station_id, kind=kind, evse=evse))


def _what(arguments: Sequence[str]) -> tuple[TriggerKind, int | None]:
    kinds = {kind.value.replace("_", ""): kind for kind in TriggerKind}
    kind = kinds.get(arguments[0].replace("-", "").replace("_", "").casefold())
    if kind is None:
        raise typer.BadParameter(
            f"{arguments[0]} is none of {', '.join(k.value.replace('_', '-') for k in TriggerKind)}"
        )
    evse = _number(arguments[1]) if len(arguments) > 1 else None
    return kind, evse


def _send_data(_: Connection, station_id: str, arguments: Sequence[str]) -> Asked:
    vendor_id, message_id, *data = arguments
    command = SendVendorData(
        station_id=station_id, vendor_id=vendor_id, message_id=message_id or None, data=data[0] if data else None
    )
    return Asked(command=command)


def _change(_: Connection, station_id: str, arguments: Sequence[str]) -> Asked:
    """What is a secret by its name is sealed until it is sent."""
    key, value = arguments
    if why := own_way(key):
        raise Failed(why)
    if requests.is_secret(key):
        value = requests.SEALED + Vault(load().needed_secret_key()).seal(value)
    return Asked(command=ChangeConfiguration(station_id=station_id, key=key, value=value))


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise typer.BadParameter(f"{text} is no number of an EVSE")
    return int(text)


Read = Callable[[Connection, str, Sequence[str]], Asked]
COMMANDS: Mapping[str, tuple[str, int, int, Read]] = {  # usage, least and most arguments, reader
    "get-configuration": (
        "[KEY...]",
        0,
        100,
        lambda _, station_id, keys: Asked(command=GetConfiguration(station_id=station_id, keys=tuple(keys))),
    ),
    "change-configuration": ("KEY VALUE", 2, 2, _change),
    "change-availability": ("EVSE operative|inoperative", 2, 2, _availability),
    "trigger-message": ("KIND [EVSE]", 1, 2, _trigger),
    "extended-trigger": ("KIND [EVSE]", 1, 2, _extended_trigger),
    "clear-cache": ("", 0, 0, lambda _, station_id, __: Asked(command=ClearCache(station_id=station_id))),
    "send-data": ("VENDOR MESSAGE [DATA]", 2, 3, _send_data),
    "unlock-connector": (
        "EVSE",
        1,
        1,
        lambda _, station_id, evse: Asked(command=UnlockConnector(station_id=station_id, evse=_number(evse[0]))),
    ),
    "remote-start": ("CARD [EVSE]", 1, 2, _start),
    "remote-stop": ("TRANSACTION", 1, 1, _stop),
    "reset": ("", 0, 0, lambda _, station_id, __: Asked(command=ResetStation(station_id=station_id))),
}

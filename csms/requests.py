"""What somebody asks of a station begins as a row: whoever runs the service finds it, sends it and writes what came of it."""

import re
import uuid
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select

from csms.commands import ChangeConfiguration, Command, ResetKind, ResetStation, StartRemotely
from csms.models import RemoteRequest, Token
from csms.secret_settings import is_secret as is_secret
from csms.tokens import normalize

WIRE_TAG_LENGTH = 20  # what every OCPP version can carry (decision 2)
SECRET_SETTING = "authorizationkey"  # compared casefolded
REDACTED = "[redacted]"
SEALED = "sealed:"  # how a secret stands in a request until the moment it is sent

_UPLOAD = re.compile(r"(?<=/uploads/)(\d+)/.*")
PERSON = "person:"  # whom `requested_by` begins with when a named person is behind it, not a program


class PlainSecret(Exception):
    """The setting is a secret, and its value would be kept readable until it is sent."""


class PersonsOnly(Exception):
    """Only a person may ask for this (R05): no key, no partner, no job."""


def enqueue(
    connection: Connection,
    command: Command[Any],
    *,
    requested_by: str,
    now: datetime,
    timeout_s: float,
    state: str = "queued",
    token_id: int | None = None,
    authorization_reference: str | None = None,
    reason: str | None = None,
) -> str:
    """Store the receipt; a service that reads "queued" ones will send it. Returns the request's id. Raises PersonsOnly for
    a reset that is not soft and of which no person says why (csms.resets), and PlainSecret."""
    gentle = not isinstance(command, ResetStation) or command.kind is ResetKind.SOFT
    if not gentle and not (requested_by.startswith(PERSON) and reason):
        raise PersonsOnly(requested_by)
    if isinstance(command, ChangeConfiguration) and is_secret(command.key) and not command.value.startswith(SEALED):
        raise PlainSecret(command.key)
    request_id = str(uuid.uuid4())
    connection.execute(
        insert(RemoteRequest).values(
            id=request_id,
            kind=kind_of(command),
            station_id=command.station_id,
            evse=getattr(command, "evse", None),
            command=msgspec.to_builtins(command),
            state=state,
            requested_by=requested_by,
            token_id=token_id,
            tag_key=normalize(command.id_token) if isinstance(command, StartRemotely) else None,
            authorization_reference=authorization_reference,
            created_at=now,
            deadline_at=now + timedelta(seconds=timeout_s),
            reason=reason,
        )
    )
    return request_id


def tag_for(connection: Connection, token: Any) -> str:
    """What to send as id_token for this card: its uid where it fits the wire and is nobody else's, else a minted tag that
    only its request knows (decision 2, CM-26)."""
    same = select(func.count()).select_from(Token).where(Token.uid_key == token.uid_key)
    unambiguous = connection.execute(same).scalar_one() <= 1
    fits = 0 < len(token.uid.strip()) == len(token.uid) <= WIRE_TAG_LENGTH
    if unambiguous and fits and token.uid.isascii() and token.uid.isprintable():
        return str(token.uid)
    return f"RB{uuid.uuid4().hex[:18].upper()}"


def told(command: Command[Any]) -> Any:
    """The command as it is kept once it was sent: without the passwords and the keys of addresses in it."""
    kept = msgspec.to_builtins(command)
    if isinstance(command, ChangeConfiguration) and is_secret(command.key):
        kept["value"] = REDACTED
    if "url" in kept:
        kept["url"] = _UPLOAD.sub(rf"\1/{REDACTED}", kept["url"].partition("?")[0])
    return kept


def kind_of(command: Command[Any]) -> str:
    return str(type(command).__struct_config__.tag)

"""Partners' tokens as they push them: each partner writes and reads its own, and nobody else's."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import IntegrityError

from adapters.datatypes import Unreadable
from adapters.rendered import Rendered, Stored
from adapters.tokens import patched, token_from_ocpi, token_to_ocpi
from crud.caller import Caller, Refusal
from crud.scope import body, caller, request
from csms.database import Database
from csms.tokens import find, known_as, of_partner, put


def _utc_now() -> datetime:
    return datetime.now(UTC)


class TokensCrud:
    """`wake` is called on the loop after a change, so that the journal's readers look at once."""

    def __init__(
        self,
        database: Database,
        *,
        wake: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._database = database
        self._wake = wake
        self._clock = clock

    async def get(
        self, id: str, *, country_code: str, party_id: str, token_type: str = "RFID", **_: Any
    ) -> Rendered | None:
        """None for an unknown token and for one of somebody else alike."""
        return await asyncio.to_thread(self._get, caller(), country_code, party_id, id, _word(token_type))

    async def create(
        self, data: Mapping[str, Any], *, country_code: str, party_id: str, token_type: str = "RFID", **_: Any
    ) -> Stored:
        return await self._store(data, None, country_code, party_id, _word(token_type))

    async def update(
        self, data: Mapping[str, Any], id: str, *, country_code: str, party_id: str, token_type: str = "RFID", **_: Any
    ) -> Stored:
        return await self._store(data, id, country_code, party_id, _word(token_type))

    async def _store(
        self, data: Mapping[str, Any], uid: str | None, country_code: str, party_id: str, type: str
    ) -> Stored:
        asking = caller()
        if not asking.speaks_for(country_code, party_id):
            raise Refusal(404, 2001, f"{country_code}-{party_id} is not one of your parties")
        incoming = request()
        change = self._patch if incoming is not None and incoming.method == "PATCH" else self._put
        try:
            stored = await asyncio.to_thread(change, asking, body(data), country_code, party_id, uid, type)
        except IntegrityError:  # the same new token came twice at once: now it is there
            stored = await asyncio.to_thread(change, asking, body(data), country_code, party_id, uid, type)
        self._wake()
        return stored

    def _get(self, asking: Caller, country_code: str, party_id: str, uid: str, type: str) -> Rendered | None:
        with self._database.read() as connection:
            row = _find(connection, asking, country_code, party_id, uid, type)
        return Rendered(token_to_ocpi(row)) if row is not None else None

    def _put(
        self, asking: Caller, sent: dict[str, Any], country_code: str, party_id: str, uid: str | None, type: str
    ) -> Stored:
        for name, in_url in (("country_code", country_code), ("party_id", party_id), ("uid", uid), ("type", type)):
            if in_url is not None and str(sent.get(name)).casefold() != in_url.casefold():
                raise Refusal(200, 2001, f"{name} differs from the one in the URL", {"field": name})
        with self._database.write() as connection:
            return self._keep(connection, asking, sent)

    def _patch(
        self, asking: Caller, sent: dict[str, Any], country_code: str, party_id: str, uid: str | None, type: str
    ) -> Stored:
        with self._database.write() as connection:
            row = _find(connection, asking, country_code, party_id, uid or "", type)
            if row is None:
                raise Refusal(404, 2004, "unknown token")
            try:
                merged = patched(row, sent)
            except Unreadable as error:
                raise Refusal(200, 2001, str(error), {"field": error.field}) from None
            return self._keep(connection, asking, merged)

    def _keep(self, connection: Connection, asking: Caller, described: Mapping[str, Any]) -> Stored:
        row, created = store(connection, described, asking.partner_id, self._clock())
        return Stored(token_to_ocpi(row), created=created)


def store(connection: Connection, described: Mapping[str, Any], owner_id: int, now: datetime) -> tuple[Row[Any], bool]:
    """Keep the token that a partner describes, unless ours is newer (TK-07); returns its row then, and whether it is new.

    What only the operator says of a card (that it may charge twice at once) stays. Refuses with 2001 what cannot be read.
    """
    try:
        record = token_from_ocpi(described, owner_id)
    except Unreadable as error:
        raise Refusal(200, 2001, str(error), {"field": error.field}) from None
    created = put(connection, of_partner(record, known_as(connection, record)), now) == "created"
    row = known_as(connection, record)
    assert row is not None  # just written, in this transaction
    return row, created


def _find(
    connection: Connection, asking: Caller, country_code: str, party_id: str, uid: str, type: str
) -> Row[Any] | None:
    return find(
        connection, owner_id=asking.partner_id, country_code=country_code, party_id=party_id, uid=uid, type=type
    )


def _word(token_type: Any) -> str:
    return str(getattr(token_type, "value", token_type)).upper()

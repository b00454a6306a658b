"""Partners' tokens as they push them: each partner writes and reads its own, and nobody else's."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import IntegrityError

from adapters import v211
from adapters.datatypes import Unreadable
from adapters.rendered import Rendered, Stored
from adapters.tokens import patched, token_from_ocpi, token_to_ocpi
from adapters.v211.tokens import changes_from_211, token_from_211
from crud.caller import Caller, Refusal
from crud.scope import acts_for, body, caller, request
from csms.database import Database
from csms.tokens import find, known_as, of_partner, put

ANY_TYPE = ("RFID", "OTHER", "APP_USER", "AD_HOC_USER")  # in 2.1.1 all but the first are OTHER


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
        self,
        id: str,
        *,
        country_code: str,
        party_id: str,
        token_type: str = "RFID",
        version: str = "2.2.1",
        **_: Any,
    ) -> Rendered | None:
        """None for an unknown token and for one of somebody else alike. In 2.1.1 the address names no type."""
        type = None if version == v211.VERSION else _word(token_type)
        return await asyncio.to_thread(self._get, caller(), country_code, party_id, id, type)

    async def create(self, data: Mapping[str, Any], **address: Any) -> Stored:
        return await self._store(data, None, **address)

    async def update(self, data: Mapping[str, Any], id: str, **address: Any) -> Stored:
        return await self._store(data, id, **address)

    async def _store(
        self,
        data: Mapping[str, Any],
        uid: str | None,
        *,
        country_code: str,
        party_id: str,
        token_type: str = "RFID",
        version: str = "2.2.1",
        **_: Any,
    ) -> Stored:
        asking = caller()
        type: str | None = _word(token_type)
        if not acts_for(country_code, party_id):
            raise Refusal(404, 2001, f"{country_code}-{party_id} is not one of your parties")
        incoming = request()
        change = self._patch if incoming is not None and incoming.method == "PATCH" else self._put
        sent = body(data)
        if version == v211.VERSION:
            type = None
            sent = changes_from_211(sent) if change == self._patch else token_from_211(sent, (country_code, party_id))
        try:
            stored = await asyncio.to_thread(change, asking, sent, country_code, party_id, uid, type)
        except IntegrityError:  # the same new token came twice at once: now it is there
            stored = await asyncio.to_thread(change, asking, sent, country_code, party_id, uid, type)
        self._wake()
        return stored

    def _get(self, asking: Caller, country_code: str, party_id: str, uid: str, type: str | None) -> Rendered | None:
        with self._database.read() as connection:
            row = _find(connection, asking, country_code, party_id, uid, type)
        return Rendered(token_to_ocpi(row)) if row is not None else None

    def _put(
        self, asking: Caller, sent: dict[str, Any], country_code: str, party_id: str, uid: str | None, type: str | None
    ) -> Stored:
        for name, in_url in (("country_code", country_code), ("party_id", party_id), ("uid", uid), ("type", type)):
            if in_url is not None and str(sent.get(name)).casefold() != in_url.casefold():
                raise Refusal(200, 2001, f"{name} differs from the one in the URL", {"field": name})
        with self._database.write() as connection:
            return self._keep(connection, asking, sent)

    def _patch(
        self, asking: Caller, sent: dict[str, Any], country_code: str, party_id: str, uid: str | None, type: str | None
    ) -> Stored:
        with self._database.write() as connection:
            row = _find(connection, asking, country_code, party_id, uid or "", type)
            if row is None:
                raise Refusal(404, 2004, "unknown token")
            if type is None:  # 2.1.1 does not ask for its time (V1-14)
                sent = {"last_updated": max(self._clock(), row.last_updated), **sent}
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
    connection: Connection, asking: Caller, country_code: str, party_id: str, uid: str, type: str | None
) -> Row[Any] | None:
    """Without a type the first of ANY_TYPE."""
    for word in ANY_TYPE if type is None else (type,):
        found = find(
            connection, owner_id=asking.partner_id, country_code=country_code, party_id=party_id, uid=uid, type=word
        )
        if found is not None:
            return found
    return None


def _word(token_type: Any) -> str:
    return str(getattr(token_type, "value", token_type)).upper()

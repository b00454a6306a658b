"""Whose is this card? A card that nobody has listed is asked about at the partners that agreed to it (TK-35), all at once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog

from adapters.datatypes import Unreadable
from adapters.tokens import token_from_ocpi
from crud.partners import PartnerRecord, Partners
from csms import tokens
from csms.authorization import OwnerAnswer, Question, Stranger
from csms.database import Database
from csms.events import AuthorizationStatus
from ocpi_bridge.emsp_client import EmspClient
from ocpi_bridge.peers import peer
from ocpi_bridge.token_owner import location_references, understood

log = structlog.get_logger(__name__)

OF_READERS = "RFID"  # what a charger reads
VERSIONS = ("2.2.1",)  # an answer of 2.1.1 does not say whose the card is


class TokenFinderAtPartners:
    """The core's TokenFinder. Over a hub it is an open request: the hub finds the party (RT-09)."""

    def __init__(
        self, database: Database, partners: Partners, client: EmspClient, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._partners = partners
        self._client = client
        self._clock = clock

    async def find(self, stranger: Stranger, *, timeout_s: float) -> OwnerAnswer | None:
        """None: nobody allows it. A card that is allowed is known from here on, as its owner describes it. Never raises, and
        takes no longer than `timeout_s` in all."""
        try:
            async with asyncio.timeout(timeout_s):
                asked = await asyncio.to_thread(self._asked)
                asking = [asyncio.create_task(self._ask(partner, stranger, timeout_s)) for partner in asked]
                try:
                    for answer in asyncio.as_completed(asking):
                        if (found := await answer) is not None:
                            return found
                finally:
                    for task in asking:
                        task.cancel()
                    await asyncio.gather(*asking, return_exceptions=True)
        except TimeoutError:
            pass
        except Exception:  # a driver waits: whatever broke here, the card stays unknown
            log.exception("stranger_not_found")
        return None

    def _asked(self) -> Sequence[PartnerRecord]:
        with self._database.read() as connection:
            registered = self._partners.registered(connection)
        return [partner for partner in registered if partner.asked_of_strangers and partner.version in VERSIONS]

    async def _ask(self, partner: PartnerRecord, stranger: Stranger, timeout_s: float) -> OwnerAnswer | None:
        calling = peer(partner, open_routing=True)
        if calling is None or not calling.offers("tokens", "SENDER"):
            return None
        question = Question(
            token_id=0,
            owner_id=partner.id,
            uid=stranger.uid,
            type=OF_READERS,
            country_code="",
            party_id="",
            station_id=stranger.station_id,
            location_id=stranger.location_id,
            evse_uids=stranger.evse_uids,
        )
        reply = await self._client.authorize(
            calling, stranger.uid, OF_READERS, location_references(question), timeout_s
        )
        answer = understood(question, reply)
        if answer.status is not AuthorizationStatus.ACCEPTED:
            return None
        described = reply.data.get("token")
        try:
            record = token_from_ocpi(described if isinstance(described, Mapping) else {}, partner.id)
        except Unreadable as error:
            log.warning("token_unreadable", partner=partner.name, reason=str(error))
            return None
        same = tokens.normalize(record.uid) == tokens.normalize(stranger.uid)
        if not same or not partner.speaks_for(record.country_code, record.party_id):
            log.warning("token_of_foreign_party", partner=partner.name, party=record.party_id)
            return None
        await asyncio.to_thread(self._store, record)
        return answer

    def _store(self, record: tokens.TokenRecord) -> None:
        with self._database.write() as connection:
            tokens.put(connection, tokens.of_partner(record, tokens.known_as(connection, record)), self._clock())

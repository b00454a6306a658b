"""Whether a card is good right now, asked at the eMSP that issued it, and answered in time or not at all."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import structlog

from adapters import v211
from adapters.datatypes import Unreadable, optional_text
from adapters.tokens import token_from_ocpi
from adapters.v211.tokens import type_in_211
from crud.hub_clients import away
from crud.partners import PartnerRecord, Partners, UnknownPartner
from csms import tokens
from csms.authorization import OwnerAnswer, Question
from csms.database import Database
from csms.events import AuthorizationStatus
from ocpi_bridge.emsp_client import Delivery, EmspClient, Reply
from ocpi_bridge.peers import peer

log = structlog.get_logger(__name__)

ALLOWED = {
    "ALLOWED": AuthorizationStatus.ACCEPTED,
    "BLOCKED": AuthorizationStatus.BLOCKED,
    "EXPIRED": AuthorizationStatus.EXPIRED,
    "NO_CREDIT": AuthorizationStatus.NO_CREDIT,
    "NOT_ALLOWED": AuthorizationStatus.NOT_ALLOWED,
}

# What an answer without an AuthorizationInfo means; None: nobody decided, as if there had been no answer.
WITHOUT_INFO: dict[Delivery, AuthorizationStatus | None] = {
    Delivery.NOT_FOUND: AuthorizationStatus.INVALID,  # 404, 2004: it does not know the card (TK-38)
    Delivery.REFUSED: AuthorizationStatus.NOT_ALLOWED,  # it answered, and did not allow (TK-39)
    Delivery.UNSURE: None,
    Delivery.UNREACHABLE: None,
    Delivery.HUB: None,
    Delivery.CONFIRMED: None,
}
SILENCE = OwnerAnswer(status=None)


class TokenOwnerAtPartner:
    """The core's TokenOwner, for cards of partners."""

    def __init__(
        self, database: Database, partners: Partners, client: EmspClient, *, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._partners = partners
        self._client = client
        self._clock = clock

    async def ask(self, question: Question, *, timeout_s: float) -> OwnerAnswer:
        """Never raises, and takes no longer than `timeout_s` in all (TK-42)."""
        try:
            return await self._ask(question, asyncio.get_running_loop().time() + timeout_s)
        except Exception:  # a driver waits: whatever broke here, the card's own rule for silence decides
            log.exception("owner_not_asked", partner_id=question.owner_id)
            return SILENCE

    async def _ask(self, question: Question, until: float) -> OwnerAnswer:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(until):
                partner = await asyncio.to_thread(self._partner, question)
                if partner is None:
                    return SILENCE
                calling = peer(partner, their_party=(question.country_code, question.party_id))
                if calling is None:
                    return SILENCE
                reply = await self._client.authorize(
                    calling,
                    question.uid,
                    type_in_211(question.type) if calling.version == v211.VERSION else question.type,
                    location_references(question),
                    max(until - loop.time(), 0.001),
                )
        except TimeoutError:
            return SILENCE
        answer = understood(question, reply)
        if reply.ok:
            await self._keep_token(question, reply.data, until)
        return answer

    def _partner(self, question: Question) -> PartnerRecord | None:
        """None for one that cannot answer: it is gone, or away from its hub (HC-04)."""
        with self._database.read() as connection:
            try:
                partner = self._partners.get(connection, question.owner_id)
            except UnknownPartner:
                return None
            if partner.is_hub and away(connection, partner.id, (question.country_code, question.party_id)) is not None:
                return None
            return partner

    async def _keep_token(self, question: Question, info: Any, until: float) -> None:
        """The card in the answer is newer than our copy (TK-43); when there is no time left, the next pull brings it."""
        described = info.get("token") if isinstance(info, Mapping) else None
        if not isinstance(described, Mapping):
            return
        try:
            record = token_from_ocpi(described, question.owner_id)
            if not _same_card(question, record):
                return
            async with asyncio.timeout_at(until):
                await asyncio.to_thread(self._store, record)
        except Unreadable as error:
            log.warning("token_unreadable", partner_id=question.owner_id, reason=str(error))
        except TimeoutError:
            pass

    def _store(self, record: tokens.TokenRecord) -> None:
        with self._database.write() as connection:
            known = tokens.known_as(connection, record)
            if known is not None:
                tokens.put(connection, tokens.of_partner(record, known), self._clock())


def location_references(question: Question) -> dict[str, Any] | None:
    """OCPI's ids of the place, the EVSEs by uid (TK-36, TK-37); None for a station that no site knows."""
    if question.location_id is None:
        return None
    references: dict[str, Any] = {"location_id": question.location_id}
    return references | {"evse_uids": list(question.evse_uids)} if question.evse_uids else references


def understood(question: Question, reply: Reply) -> OwnerAnswer:
    """What the eMSP decided. Only ALLOWED, for the place that was asked about, lets a driver charge (TK-39, TK-40)."""
    info = reply.data if reply.ok and isinstance(reply.data, Mapping) else {}
    allowed = info.get("allowed")
    if not isinstance(allowed, str):
        return OwnerAnswer(status=WITHOUT_INFO[reply.delivery])
    status = ALLOWED.get(allowed.upper(), AuthorizationStatus.NOT_ALLOWED)
    if status is AuthorizationStatus.ACCEPTED and _elsewhere(question, info.get("location")):
        status = AuthorizationStatus.NOT_ALLOWED
    words = info.get("info")
    return OwnerAnswer(
        status=status,
        authorization_reference=optional_text(info.get("authorization_reference"), 36),
        message=optional_text(words.get("text"), 512) if isinstance(words, Mapping) else None,
    )


def _elsewhere(question: Question, location: Any) -> bool:
    uids = location.get("evse_uids") if isinstance(location, Mapping) else None
    if not isinstance(uids, list) or not uids or not question.evse_uids:
        return False
    allowed = {str(uid).casefold() for uid in uids}
    return not any(uid.casefold() in allowed for uid in question.evse_uids)


def _same_card(question: Question, record: tokens.TokenRecord) -> bool:
    return (tokens.normalize(record.uid), record.type, record.country_code.upper(), record.party_id.upper()) == (
        tokens.normalize(question.uid),
        question.type,
        question.country_code.upper(),
        question.party_id.upper(),
    )

"""Partners know what we are: when our endpoints or parties change, and when tokens get old, they are told by a PUT of our
credentials."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from py_ocpi.modules.versions.enums import VersionNumber

from crud.partners import PartnerRecord, Partners
from csms.database import Database
from ocpi_bridge.conformance.modules import endpoints_of
from ocpi_bridge.registration import OurRole, Registration, RegistrationFailed

log = structlog.get_logger(__name__)

START_AFTER_S = 5.0  # the partner calls back: by then our door is open
RETRY_FIRST, RETRY_LAST = timedelta(minutes=1), timedelta(hours=6)

Offer = Callable[[str], Mapping[str, Any]]  # by OCPI version


def offer_of(public_url: str, roles: Sequence[OurRole]) -> Offer:
    """What partners know of us by our credentials, as `crud.models.Partner.told_of_us`. `roles` is read anew each time."""

    def offer(version: str) -> Mapping[str, Any]:
        return {
            "parties": sorted(f"{country_code}-{party_id}" for country_code, party_id, _ in roles),
            "endpoints": endpoints_of(VersionNumber(version), f"{public_url.rstrip('/')}/ocpi"),
        }

    return offer


class Introductions:
    """`rotate_after` None: tokens stay until an operator changes them."""

    def __init__(
        self,
        database: Database,
        partners: Partners,
        registration: Registration,
        *,
        offer: Offer,
        rotate_after: timedelta | None,
        clock: Callable[[], datetime],
        start_after_s: float = START_AFTER_S,
        poll_s: float = 60.0,
    ) -> None:
        self._database = database
        self._partners = partners
        self._registration = registration
        self._offer = offer
        self._rotate_after = rotate_after
        self._clock = clock
        self._start_after_s = start_after_s
        self._poll_s = poll_s
        self._waits: dict[int, tuple[datetime, timedelta]] = {}

    async def run(self) -> None:
        """Looks until cancelled; a partner that hangs delays no other."""
        await asyncio.sleep(self._start_after_s)
        while True:
            registered = await asyncio.to_thread(self._registered)
            async with asyncio.TaskGroup() as group:
                for partner in registered:
                    why = self.reason(partner)
                    if why is not None and self._may_try(partner):
                        group.create_task(self._introduce(partner, why))
            await asyncio.sleep(self._poll_s)

    def reason(self, partner: PartnerRecord) -> str | None:
        """Why this partner must be told; None: it knows all."""
        if partner.pending_sent:
            return "answer lost"  # the token we sent last may be the one that it uses now
        if partner.told_of_us != self._offer(str(partner.version)):
            return "changed"  # VE-07, PU-03
        since = partner.registered_at
        old = self._rotate_after is not None and since is not None and self._clock() - since >= self._rotate_after
        return "old tokens" if old else None  # CR-27

    def _may_try(self, partner: PartnerRecord) -> bool:
        again, _ = self._waits.get(partner.id, (self._clock(), RETRY_FIRST))
        return again <= self._clock()

    async def _introduce(self, partner: PartnerRecord, why: str) -> None:
        try:
            await self._registration.rotate(partner.name)
        except RegistrationFailed as reason:
            _, wait = self._waits.get(partner.id, (None, RETRY_FIRST))
            self._waits[partner.id] = (self._clock() + wait, min(wait * 2, RETRY_LAST))
            log.warning("partner_not_introduced", partner=partner.name, why=why, reason=str(reason))
        except Exception:  # one partner's trouble is not another's
            self._waits[partner.id] = (self._clock() + RETRY_LAST, RETRY_LAST)
            log.exception("partner_not_introduced", partner=partner.name, why=why)
        else:
            self._waits.pop(partner.id, None)
            log.info("partner_introduced", partner=partner.name, why=why)

    def _registered(self) -> Sequence[PartnerRecord]:
        with self._database.read() as connection:
            return self._partners.registered(connection)

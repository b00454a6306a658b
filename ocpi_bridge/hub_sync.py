"""Who stands behind a hub is known because its whole list was read: at start, after registration, and whenever in doubt."""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from adapters.datatypes import Unreadable
from crud.hub_clients import ClientInfo, client_from_ocpi, replace
from crud.partners import PartnerRecord, Partners
from csms.database import Database
from ocpi_bridge.emsp_client import EmspClient, PullFailed
from ocpi_bridge.peers import peer
from ocpi_bridge.pulling import Pulling

log = structlog.get_logger(__name__)

DOUBT_EVERY = timedelta(minutes=15)  # a hub that contradicts its own list is not asked at every push (RT-14)
PULL_LIMIT_S = 600.0


class HubSync:
    """`changed` is called on the loop after a list was read: parties may be back, for whom something waits."""

    def __init__(
        self,
        database: Database,
        partners: Partners,
        client: EmspClient,
        *,
        clock: Callable[[], datetime],
        changed: Callable[[], None] = lambda: None,
        poll_s: float = 2.0,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._partners = partners
        self._client = client
        self._clock = clock
        self._changed = changed
        self._pulling = Pulling(
            what="hub clients",
            partners=self._hubs,
            unread=lambda hub: hub.clients is None,
            pull=self.pull,
            clock=clock,
            poll_s=poll_s,
            spread=spread,
        )
        self._pulled: dict[int, datetime] = {}

    def wake(self) -> None:
        """A hub may have registered: look at once."""
        self._pulling.wake()

    def doubt(self, partner_id: int) -> None:
        """This hub could not deliver, or brought something of a party that it never named (HC-05)."""
        self._pulling.due_by(partner_id, self._pulled.get(partner_id, self._clock() - DOUBT_EVERY) + DOUBT_EVERY)

    async def run(self) -> None:
        """Pulls until cancelled; a hub that hangs delays no other."""
        await self._pulling.run()

    async def pull(self, partner_id: int) -> str | None:
        """Read the hub's whole list now; returns why that failed, and then nothing is changed."""
        started_at = self._clock()
        hub = await asyncio.to_thread(self._hub, partner_id)
        calling = peer(hub)
        if calling is None:
            return "not registered"
        listed: list[ClientInfo] = []
        try:
            async with asyncio.timeout(PULL_LIMIT_S):
                async for page in self._client.get_hub_clients(calling):
                    listed += self._readable(hub, page)
        except PullFailed as reason:
            log.warning("hub_clients_not_pulled", partner=hub.name, reason=str(reason))
            return str(reason)
        except TimeoutError:
            return f"the list did not end within {PULL_LIMIT_S:g} s"
        self._pulled[partner_id] = started_at
        await asyncio.to_thread(self._replace, partner_id, listed, started_at)
        log.info("hub_clients_pulled", partner=hub.name, listed=len(listed))
        self._changed()
        return None

    def _readable(self, hub: PartnerRecord, page: Sequence[object]) -> list[ClientInfo]:
        found = []
        for entry in page:
            try:
                found.append(client_from_ocpi(entry if isinstance(entry, dict) else {}, self._clock()))
            except Unreadable as error:  # TY-18
                log.warning("hub_client_unreadable", partner=hub.name, reason=str(error))
        return found

    def _hubs(self) -> Sequence[PartnerRecord]:
        """Those that keep a list (VE-05)."""
        with self._database.read() as connection:
            registered = self._partners.registered(connection)
        return [hub for hub in registered if hub.is_hub and hub.endpoint("hubclientinfo", "SENDER") is not None]

    def _hub(self, partner_id: int) -> PartnerRecord:
        with self._database.read() as connection:
            return self._partners.get(connection, partner_id)

    def _replace(self, partner_id: int, listed: Sequence[ClientInfo], started_at: datetime) -> None:
        with self._database.write() as connection:
            replace(connection, partner_id, listed, started_at, self._clock())

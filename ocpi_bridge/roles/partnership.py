"""Towards partners: one guarded client for every request, who they are, who we are to them, and the lists read from them."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta

from crud.partners import Partners
from csms.sealing import Vault
from ocpi_bridge.emsp_client import EmspClient
from ocpi_bridge.health import Health
from ocpi_bridge.hub_sync import HubSync
from ocpi_bridge.introductions import Introductions, offer_of
from ocpi_bridge.outbound import Guarded, OutboundPolicy, Refused, Unreachable
from ocpi_bridge.registration import OurRole, Registration, our_roles
from ocpi_bridge.roles.ground import Ground, Tasks
from ocpi_bridge.token_finder import TokenFinderAtPartners
from ocpi_bridge.token_owner import TokenOwnerAtPartner
from ocpi_bridge.token_sync import TokenSync

ROLES_EVERY_S = 60.0


class Partnership:
    def __init__(self, ground: Ground) -> None:
        settings, clock, database = ground.settings, ground.clock, ground.database
        self._ground = ground
        self.guarded = Guarded(OutboundPolicy(settings.outbound_allow))
        self.health = Health(clock=clock)
        self.client = EmspClient(self.guarded, clock=clock, heard=self.health.heard)
        self.vault = Vault(settings.needed_secret_key())
        self.partners = Partners(database, self.vault, clock=clock)
        self.token_owner = TokenOwnerAtPartner(database, self.partners, self.client, clock=clock)
        self.token_finder = TokenFinderAtPartners(database, self.partners, self.client, clock=clock)
        self._our_roles: list[OurRole] = [(*settings.our_party, settings.operator_name)]
        self.our_parties = OurParties(self._our_roles)
        self._offer = offer_of(settings.public_url, self._our_roles)
        self.hub_sync = HubSync(database, self.partners, self.client, clock=clock, changed=ground.due)
        self.token_sync = TokenSync(
            database, self.partners, self.client, clock=clock, changed=ground.wake, doubt=self.hub_sync.doubt
        )
        self.registration = Registration(
            database,
            self.partners,
            self.client,
            public_url=settings.public_url,
            our_roles=self._our_roles,
            clock=clock,
            changed=self._partner_changed,
            offer=self._offer,
        )

    def tasks(self) -> Tasks:
        """Of every process that deals with partners."""
        return {
            "partner_health": lambda: self.health.run(self._ground.database),
            "roles": self._follow_imports,
        }

    def once(self) -> Tasks:
        """Of one process for a database."""
        days = self._ground.settings.rotate_tokens_days
        introductions = Introductions(
            self._ground.database,
            self.partners,
            self.registration,
            offer=self._offer,
            rotate_after=timedelta(days=days) if days else None,
            clock=self._ground.clock,
        )
        return {
            "token_sync": self.token_sync.run,
            "hub_sync": self.hub_sync.run,
            "introductions": introductions.run,
        }

    async def read_roles(self) -> None:
        """Who we are by now; before anybody asks."""
        self._our_roles[:] = await asyncio.to_thread(self._read_roles)

    def _read_roles(self) -> list[OurRole]:
        settings = self._ground.settings
        with self._ground.database.read() as connection:
            return our_roles(connection, settings.our_party, settings.operator_name)

    async def url_allowed(self, url: str) -> bool:
        try:
            await self.guarded.check(url)
        except (Refused, Unreachable):
            return False
        return True

    async def _follow_imports(self) -> None:
        """Sites of another party may be imported while we run: from then on it is one of ours (PU-03)."""
        while True:
            await asyncio.sleep(ROLES_EVERY_S)
            await self.read_roles()

    def _partner_changed(self) -> None:
        self._ground.wake()
        self._ground.due()
        self.token_sync.wake()
        self.hub_sync.wake()


class OurParties(Collection[tuple[str, str]]):
    """The parties of our roles, whichever those are by now."""

    def __init__(self, roles: Sequence[OurRole]) -> None:
        self._roles = roles

    def __contains__(self, party: object) -> bool:
        return party in set(self)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter((country_code, party_id) for country_code, party_id, _ in self._roles)

    def __len__(self) -> int:
        return len(self._roles)

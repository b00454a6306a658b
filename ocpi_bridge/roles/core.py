"""The core, and all that follows from its journal and from time: bills, what partners and drivers are told, watch rules."""

import asyncio

from crud.payers import payers
from csms import certificates, meanings, partitions
from csms.after_boot import LeftAlone
from csms.billing import roundings
from csms.billing.charge_records import TOLD as BILLED
from csms.billing.charge_records import bill
from csms.bus import Send
from csms.core import Csms
from csms.cost_messages import OF_WHO_SHOWS, CostTeller
from csms.cost_messages import TOLD as COSTS_FOLLOW
from csms.exclusive import one_at_a_time
from csms.firmware_campaigns import Campaigns
from csms.journal import FactType, Subscriber
from csms.local_list.push import ListPush
from csms.measures import EVENTS
from csms.signed_urls import signing_key
from csms.watch import Watch
from ocpi_bridge.callbacks import Callbacks
from ocpi_bridge.delivery import Deliveries
from ocpi_bridge.push import CONCERNS_SOMEBODY, Push
from ocpi_bridge.push import RULES as TOLD
from ocpi_bridge.retention import retention_of
from ocpi_bridge.roles.ground import Ground, Tasks
from ocpi_bridge.roles.partnership import Partnership
from ocpi_bridge.roles.shown import Shown


class Core:
    """`send` reaches chargers; `left_alone` is the quirks' word on settings (Q03); `once`: events come by a bus. `signed` is
    set when our authority signed something: perhaps it is a new one."""

    def __init__(
        self,
        ground: Ground,
        partnership: Partnership,
        shown: Shown,
        *,
        send: Send,
        left_alone: LeftAlone,
        once: bool = False,
    ) -> None:
        self._ground = ground
        self._partnership = partnership
        self._shown = shown
        self._send = send
        self.signed = asyncio.Event()
        self.csms = Csms(
            ground.database,
            send=send,
            wake=ground.wake,
            our_party=ground.settings.our_party,
            token_owner=partnership.token_owner,
            token_finder=partnership.token_finder,
            unknown_stations=ground.settings.unknown_stations,
            clock=ground.clock,
            left_alone=left_alone,
            payers=payers,
            vault=partnership.vault,
            meanings=meanings.meanings(ground.settings.evse_status),
            once=once,
        )
        events = ground.metrics.distribution("batch_events", "Events that shared a commit", "", EVENTS)
        seconds = ground.metrics.seconds("batch", "How long a batch took, its commit included", "")

        def measured(size: int, took_s: float) -> None:
            events("", size)
            seconds("", took_s)

        self.csms.on_batch = measured

    async def keep_settings(self) -> None:
        """What the settings say of money and of states holds from now on, for commands too."""
        await asyncio.to_thread(self._keep_settings)

    def _keep_settings(self) -> None:
        ground = self._ground
        with ground.database.write() as connection:
            one_at_a_time(connection, "settings")  # workers may start together
            roundings.keep(connection, ground.settings.money_decimals)
            meanings.keep(connection, ground.settings.evse_status, ground.clock())

    def tasks(self) -> Tasks:
        """Of every worker: none of these minds others beside it."""
        ground = self._ground
        settings, database, wake, clock = ground.settings, ground.database, ground.wake, ground.clock
        demanded = settings.certificate_organization
        signing = certificates.Signing(
            self._partnership.vault,
            organization=demanded or settings.operator_name,
            demanded=demanded,
            clock=clock,
        )
        billing = Subscriber(
            "billing",
            database,
            bill,
            wake=wake,
            types=[FactType.TRANSACTION_ENDED],
            then=lambda: wake(BILLED),
        )
        signed = Subscriber(
            "certificates",
            database,
            signing.handle,
            wake=wake,
            types=[FactType.CERTIFICATE_REQUESTED],
            then=self.signed.set,
        )
        costs, push = CostTeller(clock=clock), Push(clock=clock, due=ground.due)
        showing = Subscriber("cost_messages", database, costs.handle, wake=wake, types=COSTS_FOLLOW, only=OF_WHO_SHOWS)
        telling = Subscriber(
            "ocpi_push",
            database,
            push.handle,
            wake=wake,
            types=TOLD,
            only=CONCERNS_SOMEBODY,
            then=push.committed,
        )
        assert self.csms.after_boot is not None  # a service follows up
        return {
            "core": self.csms.run,
            "after_boot": self.csms.after_boot.run,
            "remote": self.csms.remote.run,
            "billing": billing.run,
            "certificates": signed.run,
            "ocpi_push": telling.run,
            "cost_messages": showing.run,
        }

    def once(self) -> Tasks:
        """Of one worker for a database."""
        ground, partnership = self._ground, self._partnership
        settings, database, wake, clock = ground.settings, ground.database, ground.wake, ground.clock
        deliveries = Deliveries(
            database,
            partnership.client,
            partnership.partners,
            self._shown.current_state.together,
            wake=ground.due,
            clock=clock,
            doubt=partnership.hub_sync.doubt,
            health=partnership.health,
        )
        callbacks = Callbacks(database, partnership.partners, partnership.client, wake=wake, clock=clock)
        campaigns = Campaigns(
            database,
            public_url=settings.public_url,
            key=signing_key(settings.needed_secret_key()),
            wake=wake,
            clock=clock,
        )
        return {
            "local_lists": ListPush(database, send=self._send, clock=clock).run,
            "watch": Watch(database, wake=wake, clock=clock, payers=payers).run,
            "deliveries": deliveries.run,
            "callbacks": callbacks.run,
            "months": partitions.Ahead(database, clock=clock).run,
            "retention": retention_of(settings, database, clock).run,
            "firmware_campaigns": campaigns.run,
        }

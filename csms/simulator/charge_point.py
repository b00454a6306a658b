"""A charger as a CSMS meets it: it boots, charges, loses its line, and obeys commands, with the faults of its profile."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

from csms.simulator import answers, payloads
from csms.simulator.certificates import Certificates
from csms.simulator.charging_profiles import ChargingProfiles
from csms.simulator.clock import Clock, SimClock, StationClock
from csms.simulator.configuration import Configuration
from csms.simulator.connector import Connector, RemoteStart, Transaction
from csms.simulator.local_list import LocalList
from csms.simulator.meter import Meter
from csms.simulator.outbox import Outbox, Queued
from csms.simulator.profile import Profile
from csms.simulator.reservations import Reservation, Reservations
from csms.simulator.vendor_data import connector_unplugged
from csms.simulator.wire import (
    CommandReceived,
    Exchange,
    Fate,
    Handled,
    Link,
    NoAnswer,
    NotAccepted,
    NotConnected,
    OnFrame,
    Payload,
    Unserved,
    open_socket,
)


class ChargePoint:
    """Use it as `async with ChargePoint(profile) as charge_point`, or end it with `stop()`.

    Transaction messages survive a cut line in the outbox; everything else raises NotConnected or NoAnswer when the CSMS
    cannot be reached. `exchanges` holds each call and its fate, `commands` what the CSMS asked, both in order;
    `remote_starts` the accepted RemoteStartTransactions, which somebody else must act upon. `displayed` is what it was told
    of costs, `security_events` what it told of its security, `cache` the idTagInfo of each card that it asked about.
    """

    def __init__(self, profile: Profile, *, clock: Clock | None = None, on_frame: OnFrame | None = None) -> None:
        self.profile = profile
        self.clock = clock or SimClock()
        self.station_clock = StationClock(
            self.clock,
            offset=profile.clock_offset,
            frozen_at=profile.clock_frozen_at,
            follows=profile.follows_current_time,
        )
        self.configuration = Configuration(
            connectors=profile.connectors, sample_interval_s=profile.sample_interval_s, shows_cost=profile.shows_cost
        )
        steps = profile.power_steps or ((0.0, profile.max_power_w),)
        self.connectors = {
            number: Connector(number=number, meter=Meter(steps, register_mwh=profile.register_start_mwh))
            for number in range(1, profile.connectors + 1)
        }
        self.exchanges: list[Exchange] = []
        self.commands: list[CommandReceived] = []
        self.remote_starts: asyncio.Queue[RemoteStart] = asyncio.Queue()
        self.cache: dict[str, Payload] = {}
        self.local_list = LocalList(longest=self.configuration.count("LocalAuthListMaxLength"))
        self.reservations = Reservations()
        self.profiles = ChargingProfiles()
        self.certificates = Certificates()
        self.displayed: list[tuple[str, Payload]] = []
        self.security_events: list[Payload] = []
        self.uploading: int | None = None  # requestId of the log on its way
        self.outbox = Outbox(
            self._exchange,
            attempts=partial(self.configuration.count, "TransactionMessageAttempts"),
            retry_pause=self._retry_pause,
            lost_answers=profile.lost_answers,
            record=self.exchanges.append,
        )
        self._on_frame = on_frame or (lambda direction, text: None)
        self._password = profile.password
        self._operative = True
        self._accepted = False
        self._link: Link | None = None
        self._wanted = False  # a line that ends although it is wanted was cut
        self._pump: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    # ---- life and line ----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def connected(self) -> bool:
        return self._link is not None

    @property
    def strays(self) -> list[str]:
        """Frames on the present line that nobody asked for or could read."""
        return self._link.strays if self._link else []

    async def start(self, *, boot_attempts: int = 1) -> None:
        """Connect and boot until accepted, waiting the interval that the CSMS gave in between; NotAccepted after that."""
        await self.connect()
        for attempt in range(1, boot_attempts + 1):
            answer = await self.boot()
            if self._accepted:
                self._spawn(self._beat())
                return
            if attempt < boot_attempts:
                await self.clock.pause(float(answer.get("interval") or 60))
        raise NotAccepted(f"{self.profile.station_id}: Boot was answered {answer.get('status')}")

    async def stop(self) -> None:
        """Hang up and end; raises what went wrong in the background, were it a bug of the simulator's."""
        tasks = [*self._tasks, *([self._pump] if self._pump else [])]
        for task in tasks:  # before the line, which one of them might open again
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.disconnect()
        if self._failures:
            raise self._failures[0]

    async def connect(self) -> None:
        """Open the line. A charger that was accepted before goes on where it was, without a new Boot."""
        if self._link is not None:
            return
        self._wanted = True
        socket = await open_socket(
            self.profile.url, self.profile.station_id, self._password, timeout_s=self.profile.connect_timeout_s
        )
        link = Link(
            socket,
            handle=self._handle,
            spawn=self._spawn,
            on_frame=self._on_frame,
            answer_timeout_s=self.profile.answer_timeout_s,
            answer_delay_s=self.profile.answer_delay_s,
        )
        self._link = link
        self._spawn(self._serve(link))
        if self._pump is None:
            self._pump = asyncio.create_task(self.outbox.run())
            self._pump.add_done_callback(self._ended)
        if self._accepted:
            self.outbox.open()

    async def disconnect(self) -> None:
        """Hang up; transaction messages queue from now on."""
        self._wanted = False
        link, self._link = self._link, None
        self.outbox.shut()
        if link is not None:
            await link.close()

    async def reboot(self, *, reason: str | None = None) -> None:
        """Restart. With a reason, running transactions end with it first; None is a power cut after which they resume."""
        running = [connector for connector in self.connectors.values() if connector.running]
        for connector in running:
            if reason is not None:
                await self.stop_transaction(connector.number, reason=reason)
            connector.meter.pause(self.clock.now())
        await self.disconnect()
        self._accepted = False
        if self.profile.register_resets_on_boot:
            for connector in self.connectors.values():
                connector.meter.reset_register(self.clock.now())
        await self.connect()
        await self.boot()
        for connector in running:
            if connector.running:
                connector.meter.resume(self.clock.now())

    # ---- what a charger says ----------------------------------------------------------------------------------------

    async def boot(self) -> Payload:
        """BootNotification; when accepted the clock is set, each connector reports itself, and the outbox opens."""
        answer = await self.call("BootNotification", payloads.boot_notification(self.profile))
        self.station_clock.hear(answer.get("currentTime"))
        self._accepted = answer.get("status") == "Accepted"
        if self._accepted:
            if isinstance(interval_s := answer.get("interval"), int) and interval_s > 0:
                self.configuration.set("HeartbeatInterval", str(interval_s))
            for number in (0, *self.connectors):
                await self.report_status(number)
            self.outbox.open()
        return answer

    async def heartbeat(self) -> Payload:
        answer = await self.call("Heartbeat", {})
        self.station_clock.hear(answer.get("currentTime"))
        await self.expire_reservations()
        return answer

    async def authorize(self, id_token: str) -> Payload:
        """A card at the reader; the answer's idTagInfo says whether it may charge."""
        answer = await self.call("Authorize", {"idTag": payloads.id_tag(self.profile, id_token)})
        self.cache[id_token] = answer.get("idTagInfo") or {}
        return answer

    async def plug(self, connector: int) -> None:
        self.connectors[connector].plugged = True
        await self.set_status(connector, "Preparing")

    async def unplug(self, connector: int) -> None:
        """Ends a transaction that still runs, as EVDisconnected."""
        await self.stop_transaction(connector, reason="EVDisconnected")
        place = self.connectors[connector]
        was_plugged, place.plugged = place.plugged, False
        if was_plugged and place.transaction and self.configuration.flag("CustomDisplayCostAndPrice"):
            await self._tell_unplugged(place.transaction)
        await self.set_status(connector, "Available" if place.operative else "Unavailable")

    async def start_transaction(self, connector: int, id_token: str) -> Transaction:
        """Begin to charge. On a line, returns after the CSMS's answer; without one at once, and the message waits."""
        place = self.connectors[connector]
        if place.running:
            raise ValueError(f"a transaction runs on connector {connector} of {self.profile.station_id}")
        await self.expire_reservations()
        if not self.is_for(connector, id_token):
            raise ValueError(f"connector {connector} of {self.profile.station_id} is kept for another card")
        transaction = Transaction(connector=connector, id_token=id_token, started_at=self.clock.now())
        if used := self.reservations.for_card(connector, id_token, self._groups(id_token)):
            transaction.reservation_id = used.number
            self.reservations.drop(used.number)
        place.transaction = transaction
        place.meter.begin(self.clock.now())
        transaction.begin_sample = self._sample(place, "Transaction.Begin", "StopTxnSampledData")
        frame = payloads.start_transaction(
            self.profile, transaction, place.meter, self.clock.now(), stamp=self.station_clock.stamp()
        )
        await self._deliver(
            Queued(action="StartTransaction", payload=lambda: frame, on_answer=partial(self._started, transaction))
        )
        await self.set_status(connector, "Finishing" if transaction.ended else "Charging")
        return transaction

    async def meter_values(self, connector: int, *, context: str = "Sample.Periodic") -> None:
        """One sample. Inside a transaction it queues like Start and Stop, outside it is sent or lost."""
        place = self.connectors[connector]
        sample = self._sample(place, context, "MeterValuesSampledData")
        if not sample["sampledValue"]:
            return  # the configuration asks for nothing
        frame = {"connectorId": connector, "meterValue": [sample]}
        if (transaction := place.running) is None:
            await self.call("MeterValues", frame)
            return
        await self._deliver(Queued(action="MeterValues", payload=lambda: payloads.of_transaction(frame, transaction)))

    async def stop_transaction(self, connector: int, reason: str = "Local") -> Transaction | None:
        """The transaction that ended, or None where none ran. Waits like start_transaction."""
        place = self.connectors[connector]
        if (transaction := place.running) is None:
            return None
        await self._deliver(self._end(place, transaction, reason))
        await self.set_status(connector, "Finishing" if place.plugged else "Available")
        if place.inoperative_after:
            place.inoperative_after = False
            await self.change_availability(connector, operative=False)
        return transaction

    async def suspend(self, connector: int, *, by: str = "EV") -> None:
        """The car (EV) or the charger (EVSE) stops the current; the transaction goes on."""
        self.connectors[connector].meter.pause(self.clock.now())
        await self.set_status(connector, f"Suspended{by}")

    async def resume(self, connector: int) -> None:
        self.connectors[connector].meter.resume(self.clock.now())
        await self.set_status(connector, "Charging")

    async def set_status(self, connector: int, status: str) -> None:
        """Show it and report it; a report for which the line is missing is lost."""
        self.connectors[connector].status = status
        if not self.connected:
            return
        try:
            await self.report_status(connector)
        except NoAnswer as unheard:
            if unheard.exchange.fate is not Fate.CUT:
                raise

    async def report_status(self, connector: int) -> None:
        """StatusNotification of a connector, or of the whole charger for 0."""
        own = "Available" if self._operative else "Unavailable"
        status = self.connectors[connector].status if connector else own
        twins = (0, 1) if self.profile.twin_status and connector == 1 and len(self.connectors) == 1 else (connector,)
        for number in twins:
            stamp = self.station_clock.stamp()
            await self.call("StatusNotification", payloads.status_notification(number, status, stamp=stamp))

    async def call(self, action: str, payload: Payload) -> Payload:
        """Any call, past the outbox. Raises NotConnected, or NoAnswer when it was refused, unanswered or cut off."""
        if self._link is None:
            raise NotConnected(f"{self.profile.station_id}: {action} has no line")
        exchange = await self._exchange(action, payload)
        self.exchanges.append(exchange)
        if exchange.fate is not Fate.ANSWERED:
            raise NoAnswer(exchange)
        return exchange.answer

    # ---- what a CSMS makes it do ------------------------------------------------------------------------------------

    async def change_availability(self, number: int, operative: bool) -> None:
        """0 is the whole charger. A running transaction is finished first."""
        if number == 0:
            self._operative = operative
            await self.report_status(0)
        for connector in self.connectors.values():
            if number not in (0, connector.number):
                continue
            connector.inoperative_after = connector.running is not None and not operative
            if connector.running is None:
                connector.operative = operative
                await self.set_status(connector.number, "Available" if operative else "Unavailable")

    def availability(self, number: int, *, except_for: Reservation | None = None) -> str:
        """Available, Occupied, Unavailable or Faulted, as a reservation wants to know it."""
        connector = self.connectors[number]
        kept = self.reservations.on(number)
        if connector.status == "Faulted":
            return "Faulted"
        if not connector.operative:
            return "Unavailable"
        taken = connector.running or connector.plugged or (kept is not None and kept != except_for)
        return "Occupied" if taken else "Available"

    def is_for(self, number: int, id_token: str) -> bool:
        """No reservation keeps the connector for another card."""
        kept = self.reservations.on(number)
        return kept is None or kept.is_for(id_token, self._groups(id_token))

    async def expire_reservations(self) -> None:
        for over in self.reservations.over(self.clock.now()):
            self.reservations.drop(over.number)
            if over.connector and self.connectors[over.connector].status == "Reserved":
                await self.set_status(over.connector, "Available")

    async def pause_until(self, moment: datetime) -> None:
        await self.clock.pause(max(0.0, (moment - self.clock.now()).total_seconds()))

    def install(self, firmware_version: str) -> None:
        """Runs from the next boot on."""
        self.profile = replace(self.profile, firmware_version=firmware_version)

    async def request_certificate(self) -> Payload:
        """A new key, and the request that it be certified."""
        organization = self.configuration.text("CpoName")
        csr = self.certificates.request(name=self.profile.station_id, organization=organization)
        return await self.call("SignCertificate", {"csr": csr})

    async def security_event(self, kind: str) -> None:
        event = {"type": kind, "timestamp": self.station_clock.stamp()}
        self.security_events.append(event)
        await self.call("SecurityEventNotification", event)

    def take_authorization_key(self, key: str) -> None:
        """The password of the next connection; hexadecimal as the OCPP security whitepaper has it, else as it stands."""
        try:
            self._password = bytes.fromhex(key)
        except ValueError:
            self._password = key

    # ---- what the above leans on ------------------------------------------------------------------------------------

    def _handle(self, action: str, payload: Any) -> Handled:
        handled = answers.handle(self, action, payload)
        self.commands.append(CommandReceived(action=action, payload=payload, handled=handled))
        return handled

    def _groups(self, id_token: str) -> frozenset[str]:
        known = (self.cache.get(id_token), self.local_list.entries.get(id_token))
        return frozenset(info["parentIdTag"] for info in known if info and "parentIdTag" in info)

    async def _tell_unplugged(self, transaction: Transaction) -> None:
        if self.connected and transaction.transaction_id is not None:
            stamp = self.station_clock.stamp()
            await self.call("DataTransfer", connector_unplugged(transaction.transaction_id, stamp=stamp))

    async def _exchange(self, action: str, payload: Payload) -> Exchange:
        if self._link is None:
            return Exchange(action=action, message_id="", payload=payload, fate=Fate.CUT)
        return await self._link.call(action, payload)

    async def _deliver(self, message: Queued) -> None:
        attempts = self.configuration.count("TransactionMessageAttempts")
        await self.outbox.deliver(message, timeout_s=self.profile.answer_timeout_s * max(1, attempts))

    async def _retry_pause(self, failures: int) -> None:
        await self.clock.pause(failures * self.configuration.count("TransactionMessageRetryInterval"))

    def _started(self, transaction: Transaction, answer: Payload) -> None:
        """StartTransaction.conf: a refused card ends the transaction, unless the configuration lets it go on."""
        transaction.transaction_id = answer.get("transactionId")
        transaction.authorization = (answer.get("idTagInfo") or {}).get("status")
        card, limits = self.profiles.promised.pop(transaction.connector, ("", None))
        if limits is not None and card == transaction.id_token:
            self.profiles.put(transaction.connector, limits | {"transactionId": transaction.transaction_id})
        refused = transaction.authorization != "Accepted" and self.configuration.flag("StopTransactionOnInvalidId")
        if refused and not transaction.ended:
            self.outbox.put(self._end(self.connectors[transaction.connector], transaction, "DeAuthorized"))

    def _end(self, place: Connector, transaction: Transaction, reason: str) -> Queued:
        now = self.clock.now()
        place.meter.pause(now)
        transaction.over.set()
        self.profiles.end_transaction(place.number)
        transaction.energy_mwh = place.meter.delivered_mwh(now)
        stamp = self.station_clock.stamp()
        frame = payloads.stop_transaction(self.profile, transaction, place.meter, now, stamp=stamp, reason=reason)
        samples = [transaction.begin_sample, self._sample(place, "Transaction.End", "StopTxnSampledData")]
        if data := [sample for sample in samples if sample and sample["sampledValue"]]:
            frame["transactionData"] = data
        return Queued(action="StopTransaction", payload=lambda: payloads.of_transaction(frame, transaction))

    def _sample(self, place: Connector, context: str, key: str) -> Payload:
        """The measurands that the configuration lists under `key`."""
        return payloads.meter_sample(
            self.profile,
            place.meter,
            self.clock.now(),
            stamp=self.station_clock.stamp(),
            context=context,
            measurands=self.configuration.words(key),
        )

    async def _serve(self, link: Link) -> None:
        await link.run()
        if self._link is not link:
            return
        self._link = None
        self.outbox.shut()
        while self._wanted and self._link is None and self.profile.reconnect_after_s is not None:
            await asyncio.sleep(self.profile.reconnect_after_s)
            try:
                await self.connect()
            except NotConnected:
                continue

    async def _beat(self) -> None:
        """Heartbeats in the CSMS's time, which is the wall clock's however fast the scenario runs."""
        while True:
            await asyncio.sleep(self.configuration.count("HeartbeatInterval") or 300)
            try:
                await self.heartbeat()
            except Unserved:
                continue

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (failure := task.exception()) is None or isinstance(failure, Unserved):
            return  # a charger shrugs when the CSMS goes away while it does as it was told
        self._failures.append(failure)

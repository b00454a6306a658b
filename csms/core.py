"""The only way in from chargers: an event is answered after the commit that holds it, and one commit holds many."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import structlog
from sqlalchemy import Connection

from csms import handled, lock_order
from csms.after_boot import AfterBoot, LeftAlone
from csms.alerts import Alarm
from csms.authorization import TokenFinder, TokenOwner
from csms.availability import AVAILABILITY
from csms.batch import Batch
from csms.bus import ConnectionOpened, Send, Told
from csms.certificates import CertificateRequests
from csms.consultation import Consultation
from csms.database import Database, away
from csms.diagnostics import UploadReports
from csms.events import (
    AnyEvent,
    BootReply,
    CertificateRequested,
    ConnectorStatusReported,
    DiagnosticsStatusReported,
    Event,
    FirmwareStatusReported,
    HeartbeatReceived,
    HeartbeatReply,
    IdTokenPresented,
    LogStatusReported,
    MeterSampled,
    SecurityEventReported,
    StationBooted,
    TransactionEnded,
    TransactionStarted,
    VendorDataReceived,
)
from csms.firmware import FirmwareReports
from csms.journal import Wake
from csms.locations import Meanings, Statuses
from csms.presence import SEEN_EVERY_S, News, Stations, write_news
from csms.remote import RemoteControl
from csms.samples import Samples
from csms.sealing import Vault
from csms.standing import Consulted, Payers, Standing, no_partners
from csms.station_security import SecurityReports
from csms.stations import Boots, Notices
from csms.taps import Taps
from csms.transactions import Transactions

log = structlog.get_logger(__name__)

R = TypeVar("R")

BATCH_AT_MOST = 500
BOOTS_AT_MOST = 100  # of a batch: they cost most, and after a reconnect storm nobody else waits long behind them (X07)
ROUNDS_AT_MOST = 4  # an event that loses a row to another worker is decided again; losing it this often is a fault

TOLD_MORE = frozenset(
    {StationBooted, IdTokenPresented, TransactionStarted}
)  # for these there is more to do than to store

Handler = Callable[[Any], Any]
Answered = tuple[Any, BaseException | None]


def utc_now() -> datetime:
    return datetime.now(UTC)


class NotStored(Exception):
    """The core stopped before this event's turn came; the charger keeps it and sends it again."""


class Pending:
    """An event that waits for its batch."""

    __slots__ = ("consulted", "event", "future")

    def __init__(self, event: AnyEvent, consulted: Consulted | None, future: asyncio.Future[Any]) -> None:
        self.event = event
        self.consulted = consulted
        self.future = future


class Csms:
    """The core of one process. `report` is for the gateway, `stations` and `remote` for those who ask and order.

    Nothing is kept in memory that the database does not hold: any process may take any event.
    """

    def __init__(
        self,
        database: Database,
        *,
        send: Send,
        wake: Wake,
        our_party: tuple[str, str],
        token_owner: TokenOwner | None = None,
        token_finder: TokenFinder | None = None,
        unknown_stations: str = "pending",
        clock: Callable[[], datetime] = utc_now,
        follow_up: bool = True,
        vault: Vault | None = None,
        left_alone: LeftAlone = lambda *_: (),
        payers: Payers = no_partners,
        meanings: Meanings = AVAILABILITY,
        once: bool = False,
    ) -> None:
        """`follow_up`: stations are asked for their Boot, and after it for their intervals (B08, T1, T7), by
        `after_boot.run`, which is a task beside `run`. `vault`: without it no new password can be sent. `payers`: which
        partner owns a card, where a tariff is for some of them. `meanings`: what each state of an EVSE is to a driver. `once`:
        events come by a bus and may come again, so each is remembered with its reply."""
        self._database = database
        self._wake = wake
        self._our_party = our_party
        self._payers = payers
        self._meanings = meanings
        self._strangers = unknown_stations == "pending"
        self._clock = clock
        self._once = once
        self._consultation = Consultation(database, token_owner, finder=token_finder, clock=clock)
        self._loop: asyncio.AbstractEventLoop | None = None  # that runs; to look for it takes a system call
        self._pending: list[Pending] = []
        self._told: set[str] = set()  # the types of the facts that the last batch made
        self._work = asyncio.Event()
        self.on_batch: Callable[[int, float], None] = lambda *_: None  # events, seconds; in the writer's thread
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="core-writer")
        self.stations = Stations(database, strangers=self._strangers, clock=clock)
        self.stations.on_news = self._work.set
        self.after_boot = AfterBoot(database, send=send, clock=clock, left_alone=left_alone) if follow_up else None
        if self.after_boot is not None:
            self.stations.on_opened = self.after_boot.opened
        self.remote = RemoteControl(database, send=send, wake=wake, clock=clock, vault=vault, owner=token_owner)

    @property
    def now(self) -> datetime:
        """By this worker's clock."""
        return self._clock()

    def report(self, event: Event[R], /) -> Awaitable[R]:
        """bus.Report. Done with the reply after the commit; raises when the event is not stored."""
        kind = type(event)
        if kind is HeartbeatReceived:  # the sign of life itself is Presence.seen
            return Told(cast(R, HeartbeatReply(current_time=self._clock())))
        if kind in TOLD_MORE:
            return self._report_with(event)
        return self._pend(event, None)

    async def _report_with(self, event: Event[R]) -> R:
        """With what is asked before the batch, or follows from its reply."""
        consulted = None
        if isinstance(event, IdTokenPresented | TransactionStarted):
            consulted = await self._consultation.consult(event)
        reply: R = await self._pend(event, consulted)
        if self.after_boot is not None and isinstance(reply, BootReply):
            self.after_boot.booted(event.station_id, reply.status)
        return reply

    def _pend(self, event: Any, consulted: Consulted | None) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = (self._loop or asyncio.get_running_loop()).create_future()
        self._pending.append(Pending(event, consulted, future))
        self._work.set()
        return future

    async def run(self) -> None:
        """Commits batches, one after the other, until cancelled; what is being committed then is still answered, what waits
        behind it fails."""
        try:
            await self._commit_all()
        finally:
            _refuse(self._pending)
            self._pending.clear()

    async def _commit_all(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        seen_at = loop.time() + SEEN_EVERY_S  # when signs of life are due
        while True:
            try:
                async with asyncio.timeout_at(seen_at):  # not wait_for: on 3.11 it can swallow a cancellation
                    await self._work.wait()
            except TimeoutError:
                pass
            self._work.clear()
            while self._pending:
                await self._commit_next(loop)
            if self.stations.news():
                await loop.run_in_executor(self._writer, self._write_news)
            if loop.time() >= seen_at:
                seen_at = loop.time() + await loop.run_in_executor(self._writer, self._flush_some_seen)

    async def close(self) -> None:
        """After `run` has ended: the last news and signs of life are written."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._write_last)
        self._writer.shutdown()

    def _write_last(self) -> None:
        self._write_news()
        try:
            self.stations.flush_seen()
        except Exception as error:
            _seen_not_written(error)

    def _take(self) -> Sequence[Pending]:
        """The next batch: of each station its oldest event only, since the events of a batch are decided on what was known
        before it."""
        taken: list[Pending] = []
        later: list[Pending] = []
        stations: set[str] = set()
        boots = 0
        for waiting in self._pending:
            station_id = waiting.event.station_id
            boot = type(waiting.event) is StationBooted
            if station_id in stations or len(taken) >= BATCH_AT_MOST or (boot and boots >= BOOTS_AT_MOST):
                later.append(waiting)
            else:
                taken.append(waiting)
                boots += boot
            stations.add(station_id)
        self._pending = later
        return taken

    async def _commit_next(self, loop: asyncio.AbstractEventLoop) -> None:
        taken = self._take()
        committed = loop.run_in_executor(self._writer, self._answer, taken)
        try:
            try:
                self._reply(taken, await asyncio.shield(committed))
            except asyncio.CancelledError:
                self._reply(taken, await committed)
                raise
        finally:
            _refuse(taken)

    def _reply(self, taken: Sequence[Pending], answers: Sequence[Answered]) -> None:
        for waiting, (reply, error) in zip(taken, answers, strict=True):
            if waiting.future.done():
                continue  # the charger's connection is gone; what it said is stored
            if error is None:
                waiting.future.set_result(reply)
            else:
                waiting.future.set_exception(error)
        told, self._told = self._told, set()
        if told:
            self._wake(told)

    # ---- in the writer thread ---------------------------------------------------------------------------------------

    def _answer(self, taken: Sequence[Pending]) -> Sequence[Answered]:
        """A batch in one transaction; should that fail, each event in one of its own, so that a bad one harms only itself.
        While the database is away nothing is tried twice: the chargers keep what was not answered."""
        began = time.perf_counter()
        try:
            replies = self._commit(taken)
            self.on_batch(len(taken), time.perf_counter() - began)
            return [(reply, None) for reply in replies]
        except Exception as error:
            log.warning("batch_failed", events=len(taken), error=f"{type(error).__name__}: {error}"[:300])
            if away(error):
                return [(None, error)] * len(taken)
        self._write_news()
        answers: list[Answered] = []
        for waiting in taken:
            last = answers[-1][1] if answers else None
            answers.append((None, last) if last is not None and away(last) else self._answer_alone(waiting))
        return answers

    def _answer_alone(self, waiting: Pending) -> Answered:
        try:
            return self._commit([waiting])[0], None
        except Exception as error:
            log.exception("event_not_stored", event_type=type(waiting.event).__name__, **_about(waiting.event))
            return None, error

    def _commit(self, taken: Sequence[Pending]) -> Sequence[Any]:
        news = self.stations.news()

        def work(connection: Connection) -> Sequence[Any]:
            lock(connection, news, taken)
            write_news(connection, news, self._clock())
            return self._decide_once(connection, taken, look=look) if self._once else self._decide(connection, taken)

        look = False
        try:
            replies = self._database.transact(work)
        except Exception as error:
            if not self._once or away(error):
                raise
            look = True  # most often nothing was handled before, and the look costs as much as two writes
            replies = self._database.transact(work)
        self.stations.forget(len(news))
        return replies

    def _write_news(self) -> None:
        """Who came and went, when no event brings it along. What the database refuses is left out, or nothing behind it
        would ever be written; while it is away all is kept."""
        news = self.stations.news()
        try:
            self._store_news(news)
        except Exception as error:
            log.warning("news_failed", items=len(news), error=f"{type(error).__name__}: {error}"[:300])
            if not away(error):
                for item in news:
                    self._store_or_leave(item)

    def _store_or_leave(self, item: News) -> None:
        try:
            self._store_news([item])
        except Exception:
            log.exception("news_not_stored", station_id=item.station_id)
            self.stations.forget(1)

    def _store_news(self, news: Sequence[News]) -> None:
        if news:

            def work(connection: Connection) -> None:
                lock(connection, news, ())
                write_news(connection, news, self._clock())

            self._database.transact(work)
            self.stations.forget(len(news))

    def _flush_some_seen(self) -> float:
        try:
            return self.stations.flush_some_seen()
        except Exception as error:
            _seen_not_written(error)
            return SEEN_EVERY_S

    def _decide_once(self, connection: Connection, taken: Sequence[Pending], *, look: bool) -> Sequence[Any]:
        """What was handled before is answered as it was then; who did not look is told by `handled.keep`."""
        now = self._clock()
        before = handled.replies(connection, [waiting.event for waiting in taken], now) if look else {}
        fresh = [waiting for waiting in taken if waiting.event.event_id not in before]
        ids = [waiting.event.event_id for waiting in fresh]
        given = dict(zip(ids, self._decide(connection, fresh), strict=True))
        handled.keep(connection, given, now)
        replies = {**before, **given}
        return [replies[waiting.event.event_id] for waiting in taken]

    def _decide(self, connection: Connection, taken: Sequence[Pending]) -> Sequence[Any]:
        replies: dict[int, Any] = {}
        waiting = dict(enumerate(taken))
        for _ in range(ROUNDS_AT_MOST):
            lost = self._round(connection, waiting, replies)
            if not lost:
                return [replies[index] for index in range(len(taken))]
            waiting = {index: waiting[index] for index in sorted(lost)}
        raise RuntimeError(f"{len(waiting)} events lost their rows {ROUNDS_AT_MOST} times")

    def _round(self, connection: Connection, waiting: dict[int, Pending], replies: dict[int, Any]) -> set[int]:
        """Load once, decide in order, write together; returns the events to decide again."""
        batch = Batch(connection, self._clock())
        handlers = self._handlers(batch, list(waiting.values()))
        for index, pending in waiting.items():
            batch.event = index
            replies[index] = handlers[type(pending.event)](pending.event)
        self._told |= batch.told
        return batch.flush()

    def _handlers(self, batch: Batch, waiting: Sequence[Pending]) -> dict[type[Any], Handler]:
        """Who answers which event. A service is only built, and so loads, for the events that are there."""
        by_type: dict[type[Any], list[Any]] = {}
        for pending in waiting:
            by_type.setdefault(type(pending.event), []).append(pending.event)
        handlers: dict[type[Any], Handler] = {}
        if boots := by_type.get(StationBooted):
            handlers[StationBooted] = Boots(batch, boots, strangers=self._strangers).boot
        if statuses := by_type.get(ConnectorStatusReported):
            handlers[ConnectorStatusReported] = Statuses(batch, statuses, self._meanings).status
        taps, starts, ends = (by_type.get(t, []) for t in (IdTokenPresented, TransactionStarted, TransactionEnded))
        if taps or starts or ends:
            standing = Standing(batch, self._database, [*taps, *starts, *ends], self._payers)
            consulted = {p.event.event_id: p.consulted for p in waiting if p.consulted is not None}
            transactions = Transactions(batch, standing, consulted, ends, self._our_party)
            handlers[IdTokenPresented] = Taps(batch, standing, consulted).authorize
            handlers[TransactionStarted] = transactions.start
            handlers[TransactionEnded] = transactions.end
        if samples := by_type.get(MeterSampled):
            handlers[MeterSampled] = Samples(batch, samples).sample
        if requests := by_type.get(CertificateRequested):
            handlers[CertificateRequested] = CertificateRequests(batch, requests).requested
        if reports := by_type.get(SecurityEventReported):
            handlers[SecurityEventReported] = SecurityReports(batch, reports).reported
        notices = Notices(batch)
        handlers[VendorDataReceived] = notices.vendor_data
        if firmware := by_type.get(FirmwareStatusReported):
            handlers[FirmwareStatusReported] = FirmwareReports(batch, firmware).reported
        of_uploads = [by_type.get(t, []) for t in (DiagnosticsStatusReported, LogStatusReported)]
        if any(of_uploads):
            uploads = UploadReports(batch, [*of_uploads[0], *of_uploads[1]])
            handlers[DiagnosticsStatusReported] = uploads.diagnostics
            handlers[LogStatusReported] = uploads.log
        return handlers


# What changes no row of its station, nor of its EVSEs.
OF_TRANSACTIONS = (IdTokenPresented, TransactionStarted, MeterSampled, TransactionEnded)


def lock(connection: Connection, news: Sequence[News], taken: Sequence[Pending]) -> None:
    """First of all in a batch (X09). Who came may be back for those who look, and touches sites before its statuses do."""
    told = {pending.event.station_id for pending in taken if not isinstance(pending.event, OF_TRANSACTIONS)}
    lock_order.stations(connection, told | {item.station_id for item in news if not isinstance(item, Alarm)})
    if any(isinstance(item, ConnectionOpened) for item in news):
        lock_order.sites_of(connection, told | {item.station_id for item in news if isinstance(item, ConnectionOpened)})


def _refuse(waiting: Sequence[Pending]) -> None:
    for pending in waiting:
        if not pending.future.done():
            pending.future.set_exception(NotStored())


def _seen_not_written(error: Exception) -> None:
    log.warning("seen_not_written", error=f"{type(error).__name__}: {error}"[:300])


def _about(event: AnyEvent) -> dict[str, str]:
    return {"station_id": event.station_id, "event_id": event.event_id}

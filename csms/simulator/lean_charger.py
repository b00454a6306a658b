"""A charger that is one among ten thousand: it boots, beats, charges, and keeps what it could not deliver."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from csms.simulator.lean_line import Address, LeanLine, TurnedAway, open_line
from csms.simulator.tally import Played, Tally
from csms.simulator.wire import CALL, CALL_ERROR, CALL_RESULT, NotConnected

REFUSALS_AT_MOST = 3  # of one transaction message, before the charger gives it up (X01)
LEAVES_WITHIN_S = 2.0
TRIES_AGAIN_S = (0.5, 10.0)  # first, at most
MEASURANDS = (
    ("Energy.Active.Import.Register", "Wh", None),
    ("Power.Active.Import", "W", None),
    ("Voltage", "V", "L1"),
    ("Voltage", "V", "L2"),
    ("Voltage", "V", "L3"),
    ("Current.Import", "A", "L1"),
    ("Current.Import", "A", "L2"),
    ("Current.Import", "A", "L3"),
    ("SoC", "Percent", None),
    ("Temperature", "Celsius", None),
)
# What a CSMS asks after a Boot, and what such a charger says; NotImplemented to all else.
ANSWERS: Mapping[str, Any] = {
    "GetConfiguration": {"configurationKey": [], "unknownKey": []},
    "ChangeConfiguration": {"status": "Accepted"},
    "ChangeAvailability": {"status": "Accepted"},
    "TriggerMessage": {"status": "Rejected"},
    "RemoteStartTransaction": {"status": "Rejected"},
    "RemoteStopTransaction": {"status": "Rejected"},
    "Reset": {"status": "Rejected"},
    "UnlockConnector": {"status": "NotSupported"},
    "ClearCache": {"status": "Accepted"},
    "DataTransfer": {"status": "UnknownVendorId"},
}


def host_time(_station_id: str) -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What every charger of the fleet does. `heartbeat_s` None: as its Boot is answered. `values`: of one sample.
    `charge_s` None: one charge, until the end of the run. `starts_within_s`: the first charges, None within `sample_s`.
    `clock`: what a station takes for the time."""

    address: Address
    password: str | None = field(default=None, repr=False)
    heartbeat_s: float | None = None
    connectors: int = 1
    sample_s: float = 30.0
    values: int = 10
    charge_s: float | None = None
    starts_within_s: float | None = None
    power_w: int = 11_000
    answer_s: float = 30.0
    connect_s: float = 60.0
    clock: Callable[[str], datetime] = host_time

    @property
    def first_charges_within_s(self) -> float:
        return self.starts_within_s or self.sample_s


@dataclass(kw_only=True)
class Course:
    """When what happens, in the loop's time; the run sets it when all are up, and wakes the chargers."""

    charge_from: float = float("inf")
    ends_at: float = float("inf")
    gives_up_at: float = float("inf")
    storm: bool = False  # some are on their way back


class Kind(StrEnum):
    START = "StartTransaction"
    SAMPLE = "MeterValues"
    STOP = "StopTransaction"


class Message(NamedTuple):
    """Of a transaction: kept until it is answered."""

    kind: Kind
    of: Played
    at: str
    wh: int
    live: bool  # a line was up when it was written


class LineDown(Exception):
    """The line went down before the answer."""


class Refused(Exception):
    """A CALLERROR."""


class LeanCharger:
    __slots__ = (
        "_awaited",
        "_away_until",
        "_beat_at",
        "_beat_s",
        "_card",
        "_course",
        "_cut_at",
        "_failures",
        "_habits",
        "_line",
        "_next_start",
        "_number",
        "_queue",
        "_refusals",
        "_running",
        "_sample_at",
        "_sent",
        "_source",
        "_stop_at",
        "_tally",
        "_waker",
        "_wh",
        "charges",
        "in_storm",
        "phase",
        "station_id",
        "up",
    )

    def __init__(
        self,
        number: int,
        *,
        station_id: str,
        card: str,
        charges: bool,
        source: str | None,
        habits: Habits,
        course: Course,
        tally: Tally,
    ) -> None:
        self.station_id = station_id
        self.charges = charges
        self.phase = number * 0.618034 % 1.0  # so that the fleet does nothing in step, and each run the same
        self.up = False  # it was, at least once
        self.in_storm = False
        self._number = number
        self._card = card
        self._source = source
        self._habits = habits
        self._course = course
        self._tally = tally
        self._line: LeanLine | None = None
        self._queue: deque[Message] = deque()
        self._running: Played | None = None
        self._awaited: tuple[str, asyncio.Future[Any]] | None = None
        self._waker: asyncio.Future[None] | None = None
        self._sent = self._failures = self._refusals = 0
        self._away_until = self._cut_at = 0.0
        self._beat_s = self._beat_at = self._sample_at = self._stop_at = self._next_start = 0.0
        self._wh = 1_000_000 + number

    # ---- its life ---------------------------------------------------------------------------------------------------

    async def live(self, starts_at: float) -> None:
        """Until the run has ended, all that was said is acknowledged and a storm is over, or the run gives up."""
        loop, course = asyncio.get_running_loop(), self._course
        self._away_until = starts_at
        while (now := loop.time()) < course.gives_up_at:
            self._charge(now)
            if now >= course.ends_at and not self._queue and not self._cut_at:
                break
            try:
                if self._line is None and now >= self._away_until:
                    await self._come_up()
                if self._line is not None:
                    await self._speak()
            except (LineDown, Refused):
                self._try_another_line()
            await self._rest(self._due())
        line, self._line = self._line, None
        if line is not None:
            line.leave()
            try:
                async with asyncio.timeout(LEAVES_WITHIN_S):
                    await line.gone()
            except TimeoutError:
                line.abort()

    def wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    def cut(self, back_at: float, *, storm: bool = False) -> None:
        """The line goes down, and stays down until `back_at`."""
        self._away_until = back_at
        self._cut_at = asyncio.get_running_loop().time() if storm else 0.0
        self._hang_up()

    def _due(self) -> float:
        """When there is something to do again."""
        course = self._course
        acts = [course.gives_up_at if self._queue or self._cut_at else course.ends_at]
        if self._running is not None:
            acts += [self._sample_at, self._stop_at, course.ends_at]
        elif self.charges and asyncio.get_running_loop().time() < course.ends_at:
            acts.append(max(self._next_start, self._start_at()))
        acts.append(self._away_until if self._line is None else self._beat_at)
        return min(acts)

    async def _rest(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() >= until:
            await asyncio.sleep(0)
            return
        self._waker = loop.create_future()
        alarm = loop.call_at(until, self.wake)
        try:
            await self._waker
        finally:
            alarm.cancel()
            self._waker = None

    # ---- charging: what it writes down, line or not -----------------------------------------------------------------

    def _start_at(self) -> float:
        return self._course.charge_from + self.phase * self._habits.first_charges_within_s

    def _charge(self, now: float) -> None:
        """Queues what is due by now."""
        course, habits = self._course, self._habits
        if self._running is None:
            if self.charges and max(self._next_start, self._start_at()) <= now < course.ends_at:
                step = max(1, round(habits.power_w * habits.sample_s / 3600))
                at = self._now()
                played = Played(station_id=self.station_id, started_at=at, meter_start_wh=self._wh, step_wh=step)
                self._running = played
                self._tally.played.append(played)
                self._sample_at = now + habits.sample_s
                self._stop_at = min(course.ends_at, now + (habits.charge_s or float("inf")))
                self._keep(Kind.START, played, at)
            return
        if now >= self._stop_at or now >= course.ends_at:
            running, self._running = self._running, None
            running.stopped = True
            self._next_start = now + habits.sample_s
            self._keep(Kind.STOP, running, self._now())
        elif now >= self._sample_at:
            self._sample_at = _next(self._sample_at, habits.sample_s, now)
            self._wh += self._running.step_wh
            self._running.samples += 1
            self._keep(Kind.SAMPLE, self._running, self._now())

    def _now(self) -> str:
        """OCPP wants milliseconds at most."""
        now = self._habits.clock(self.station_id)
        return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _keep(self, kind: Kind, played: Played, at: str) -> None:
        self._queue.append(Message(kind, played, at, self._wh, self._line is not None))

    # ---- speaking ---------------------------------------------------------------------------------------------------

    async def _come_up(self) -> None:
        """Connects, boots, reports each connector. A CSMS that is not there is tried again, later each time."""
        loop = asyncio.get_running_loop()
        began, stage = time.perf_counter(), self._tally.stages.now
        try:
            self._line = await open_line(
                self._habits.address,
                self.station_id,
                self._habits.password,
                source=self._source,
                received=self._receive,
                lost=self._lost,
                within_s=self._habits.connect_s,
            )
        except NotConnected as failure:
            self._tally.turned_away[str(failure)] += 1
            asked = failure.retry_after_s if isinstance(failure, TurnedAway) else None
            self._try_again(loop.time(), asked)
            return
        stage.handshakes.add(time.perf_counter() - began)
        boot = {"chargePointVendor": "roambridge", "chargePointModel": "lean"}
        answer = await self._call("BootNotification", boot)
        if answer.get("status") != "Accepted":
            self._tally.boots_refused += 1
            self._try_another_line()
            return
        for connector in range(self._habits.connectors + 1):
            status = "Charging" if connector == 1 and self._running is not None else "Available"
            report = {"connectorId": connector, "errorCode": "NoError", "status": status, "timestamp": self._now()}
            await self._call("StatusNotification", report)
        now = loop.time()
        if self._cut_at:
            self._tally.reconnects.add(now - self._cut_at)
            self._cut_at = 0.0
        self._failures = 0
        self._beat_s = self._habits.heartbeat_s or float(answer.get("interval") or 300)
        self._beat_at = now + self.phase * self._beat_s
        if not self.up:
            self.up = True
            self._tally.up += 1

    async def _speak(self) -> None:
        """What waits goes out in order; then a heartbeat, when one is due."""
        while self._queue:
            await self._deliver(self._queue[0])
        now = asyncio.get_running_loop().time()
        if now >= self._beat_at:
            self._beat_at = _next(self._beat_at, self._beat_s, now)
            await self._call("Heartbeat", {})

    async def _deliver(self, message: Message) -> None:
        try:
            answer = await self._call(message.kind, self._payload(message))
        except Refused:
            self._refusals += 1
            if self._refusals < REFUSALS_AT_MOST:
                return
            self._tally.dropped += 1
        else:
            self._acknowledged(message, answer)
        self._refusals = 0
        self._queue.popleft()

    def _acknowledged(self, message: Message, answer: dict[str, Any]) -> None:
        self._tally.delivered_late += not message.live
        played = message.of
        if message.kind is Kind.SAMPLE:
            played.acknowledged += 1
        elif message.kind is Kind.STOP:
            played.stop_acknowledged = True
        else:
            played.number = answer.get("transactionId")
            if (answer.get("idTagInfo") or {}).get("status") != "Accepted":
                self._tally.cards_refused += 1

    def _payload(self, message: Message) -> dict[str, Any]:
        if message.kind is Kind.START:
            return {"connectorId": 1, "idTag": self._card, "meterStart": message.wh, "timestamp": message.at}
        known = -1 if message.of.number is None else message.of.number
        if message.kind is Kind.STOP:
            return {"transactionId": known, "meterStop": message.wh, "timestamp": message.at, "reason": "Local"}
        values = [
            {"value": str(message.wh), "measurand": name, "unit": unit} | ({"phase": phase} if phase else {})
            for name, unit, phase in MEASURANDS[: self._habits.values]
        ]
        sample = {"timestamp": message.at, "sampledValue": values}
        return {"connectorId": 1, "transactionId": known, "meterValue": [sample]}

    async def _call(self, action: str, payload: object) -> dict[str, Any]:
        """Raises LineDown or Refused. Silence is counted, and the line given up."""
        line, tally = self._line, self._tally
        if line is None:
            raise LineDown
        loop = asyncio.get_running_loop()
        self._sent += 1
        message_id = str(self._sent)
        answer: asyncio.Future[dict[str, Any]] = loop.create_future()
        self._awaited = message_id, answer
        tally.sent[action] += 1
        began, stage = time.perf_counter(), tally.stages.now
        line.send(orjson.dumps([CALL, message_id, action, payload]))
        try:
            async with asyncio.timeout(self._habits.answer_s):
                result = await answer
        except TimeoutError:
            tally.silent[action] += 1
            raise LineDown from None
        except LineDown:
            tally.cut += 1
            raise
        except Refused:
            tally.refused[action] += 1
            raise
        finally:
            self._awaited = None
        took_s = time.perf_counter() - began
        tally.answered[action] += 1
        stage.answers[action].add(took_s)
        if self._course.storm and not self.in_storm:
            tally.in_storm.add(took_s)
        return result

    # ---- hearing ----------------------------------------------------------------------------------------------------

    def _receive(self, text: bytes) -> None:
        frame = orjson.loads(text)
        if frame[0] == CALL:
            self._tally.asked[frame[2]] += 1
            known = ANSWERS.get(frame[2])
            no = [CALL_ERROR, frame[1], "NotImplemented", "", {}]
            if self._line is not None:
                self._line.send(orjson.dumps(no if known is None else [CALL_RESULT, frame[1], known]))
        elif self._awaited is not None and self._awaited[0] == frame[1] and not self._awaited[1].done():
            if frame[0] == CALL_RESULT:
                self._awaited[1].set_result(frame[2])
            else:
                self._awaited[1].set_exception(Refused(frame[2]))

    def _lost(self) -> None:
        """The other end, or the network, did it."""
        if self._line is not None:
            self._try_another_line()

    def _try_another_line(self) -> None:
        if self._line is not None:
            self._hang_up()
            self._try_again(asyncio.get_running_loop().time(), None)

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.abort()
        if self._awaited is not None and not self._awaited[1].done():
            self._awaited[1].set_exception(LineDown())
        self.wake()

    def _try_again(self, now: float, asked_s: float | None) -> None:
        first_s, most_s = TRIES_AGAIN_S
        wait_s = asked_s or min(most_s, first_s * 2**self._failures)
        self._failures += 1
        self._away_until = now + wait_s * (0.5 + self.phase)


def _next(due: float, every_s: float, now: float) -> float:
    """What was missed is not made up for."""
    return due + every_s if due + every_s > now else now + every_s

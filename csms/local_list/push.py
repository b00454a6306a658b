"""The task that tells stations their cards: few at a time, each in its own night or when somebody cannot wait."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from csms.bus import Send
from csms.commands import (
    Answer,
    ChangeConfiguration,
    ConfigurationAnswer,
    GetConfiguration,
    GetLocalListVersion,
    ListVersionAnswer,
    Outcome,
    SendLocalList,
)
from csms.database import Database
from csms.local_list import lists
from csms.local_list.cards import LONGEST_LIST, Roll, read_roll
from csms.local_list.lists import Job, Told
from csms.local_list.plan import SMALLEST, Held, Limits, applied, plan

log = structlog.get_logger(__name__)

AT_ONCE = 20
ANSWER_WITHIN_S = 30.0
POLL_S = 1.0
PREPARE_EVERY_S = 60.0
ROLL_LASTS = timedelta(seconds=60)
COMMITTED_WITHIN = timedelta(seconds=60)  # what somebody asked for is in the database by then
NO_LIST = -1  # as version: the station keeps none

STATES = {Outcome.OFFLINE: "offline", Outcome.NOT_SUPPORTED: "not_supported"}  # any other that is no yes: failed
TRY_FULL = (Outcome.VERSION_MISMATCH, Outcome.FAILED, Outcome.REJECTED)


class Stop(Exception):
    """The station is not told any further; `told` is why."""

    def __init__(self, told: Told) -> None:
        super().__init__(told.state)
        self.told = told


class ListPush:
    """Holds nothing that is not in the database but the cards as they were read last."""

    def __init__(
        self,
        database: Database,
        *,
        send: Send,
        clock: Callable[[], datetime],
        at_once: int = AT_ONCE,
        poll_s: float = POLL_S,
        prepare_every_s: float = PREPARE_EVERY_S,
    ) -> None:
        self._database = database
        self._send = send
        self._clock = clock
        self._at_once = at_once
        self._poll_s = poll_s
        self._prepare_every_s = prepare_every_s
        self._running = 0
        self._prepared_at: float | None = None
        self._roll: Roll | None = None
        self._reading = asyncio.Lock()

    async def run(self) -> None:
        """Tells whoever is due, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for job in await self.due():
                    tasks.create_task(self.tell(job))
                await asyncio.sleep(self._poll_s)

    async def due(self) -> Sequence[Job]:
        """Those that may be told now, taken so that nobody else does."""
        now = asyncio.get_running_loop().time()
        prepare = self._prepared_at is None or now - self._prepared_at >= self._prepare_every_s
        if prepare:
            self._prepared_at = now
        jobs = await asyncio.to_thread(self._take, prepare, self._at_once - self._running)
        self._running += len(jobs)
        return jobs

    async def tell(self, job: Job) -> None:
        """Once, whatever happens; what became of it is in the station's row."""
        try:
            try:
                told = await self._told(job)
            except Exception as error:  # one station's, or a fault of ours: the others are told all the same
                log.exception("local_list_not_told", station_id=job.station_id)
                told = Told(state="failed", detail=type(error).__name__)
            await asyncio.to_thread(self._finish, job, told)
            log.info("local_list_told", station_id=job.station_id, state=told.state)
        except Exception:
            log.exception("local_list_not_stored", station_id=job.station_id)  # tried again when it is no longer busy
        finally:
            self._running -= 1

    def _take(self, prepare: bool, room: int) -> Sequence[Job]:
        now = self._clock()
        if prepare:
            self._database.transact(lambda connection: lists.prepare(connection, now))
        with self._database.read() as connection:
            if not lists.anything(connection, now):
                return []

        def take(connection: Connection) -> Sequence[Job]:
            lists.mark_offline(connection, now)
            return lists.take(connection, now, room) if room > 0 else []

        return self._database.transact(take)

    def _finish(self, job: Job, told: Told) -> None:
        self._database.transact(lambda connection: lists.finish(connection, job, told, self._clock()))

    # ---- one station ------------------------------------------------------------------------------------------------

    async def _told(self, job: Job) -> Told:
        """Never more than one list at once on the way to a station: the row is taken."""
        unknown = Told(state="failed", version=job.version, entries=job.entries)
        try:
            limits = await self._limits(job)
            version = await self._version(job)
        except Stop as stop:  # nothing was sent: what it held, it holds
            return Told(**{**_fields(stop.told), "version": unknown.version, "entries": unknown.entries})
        held = _held(job, version)
        wanted = () if job.wanted is False else (await self._fresh_roll(job)).entries
        updates = plan(job.station_id, version, held, wanted, limits)
        told, answer = await self._send_all(updates, version, held)
        if answer not in TRY_FULL:
            return told
        try:
            version = await self._version(job)
        except Stop as stop:
            return stop.told
        tried = max(update.version for update in updates)
        updates = plan(job.station_id, version, None, wanted, limits, tried_version=tried)
        told, _ = await self._send_all(updates, version, None)
        return told

    async def _send_all(
        self, updates: Sequence[SendLocalList], version: int, held: Held | None
    ) -> tuple[Told, Outcome]:
        """What the station holds at the end, and the last word of it. A station that is interrupted holds what it last
        accepted; should it have taken more, its version tells."""
        entries, known = dict(held or {}), None if held is None else version
        for update in updates:
            answer: Answer = await self._send(update, timeout_s=ANSWER_WITHIN_S)
            if answer.outcome is not Outcome.ACCEPTED:
                stopped = _stopped(answer)
                return Told(**{**_fields(stopped), "version": known, "entries": entries}), answer.outcome
            entries, known = applied(entries, update), update.version
        return Told(state="sent", version=known, entries=entries), Outcome.ACCEPTED

    async def _limits(self, job: Job) -> Limits:
        """The station is asked each time: a list that was switched off since would else look like none at all."""
        asked = GetConfiguration(station_id=job.station_id, keys=lists.SETTINGS)
        answer: ConfigurationAnswer = await self._send(asked, timeout_s=ANSWER_WITHIN_S)
        if answer.outcome is Outcome.OFFLINE:
            raise Stop(_stopped(answer))
        told = {setting.key: setting.value for setting in getattr(answer, "settings", ()) if setting.value is not None}
        settings = {**job.settings, **told}
        profiles = [word.strip().casefold() for word in settings.get(lists.PROFILES, "").split(",") if word.strip()]
        if profiles and lists.PROFILE.casefold() not in profiles:
            raise Stop(Told(state="not_supported", detail=f"{lists.PROFILES} names no {lists.PROFILE}"))
        await self._switch_on(job, settings.get(lists.ENABLED))
        return Limits(
            list_length=_number(settings, lists.LIST_LENGTH), message_length=_number(settings, lists.MESSAGE_LENGTH)
        )

    async def _switch_on(self, job: Job, enabled: str | None) -> None:
        """Only where an operator asked for a list. A station that does not tell goes on: its version will."""
        if enabled is None or enabled.strip().casefold() == "true":
            return
        if not job.wanted:
            state = "failed" if job.wanted is None else "sent"
            raise Stop(Told(state=state, detail="switched off at the station"))
        on = ChangeConfiguration(station_id=job.station_id, key=lists.ENABLED, value="true")
        answer: Answer = await self._send(on, timeout_s=ANSWER_WITHIN_S)
        if answer.outcome is Outcome.OFFLINE:
            raise Stop(_stopped(answer))
        if answer.outcome is not Outcome.ACCEPTED:
            raise Stop(Told(state="failed", detail=f"cannot be switched on: {answer.outcome.value}"))

    async def _version(self, job: Job) -> int:
        asked = GetLocalListVersion(station_id=job.station_id)
        answer: ListVersionAnswer = await self._send(asked, timeout_s=ANSWER_WITHIN_S)
        if answer.outcome is not Outcome.ACCEPTED or answer.version is None:
            raise Stop(_stopped(answer))
        if answer.version <= NO_LIST:
            raise Stop(Told(state="not_supported", detail="the station keeps no list"))
        return answer.version

    async def _fresh_roll(self, job: Job) -> Roll:
        """A minute old at most; for somebody who cannot wait, read after what was asked was certainly there."""
        async with self._reading:
            oldest = self._clock() - ROLL_LASTS
            if job.asked_at is not None:
                oldest = max(oldest, min(job.taken_at, job.asked_at + COMMITTED_WITHIN))
            if self._roll is None or self._roll.read_at < oldest:
                self._roll = await asyncio.to_thread(self._read_roll)
            return self._roll

    def _read_roll(self) -> Roll:
        now = self._clock()
        with self._database.read() as connection:
            return read_roll(connection, now)


def _held(job: Job, version: int) -> Held | None:
    if version == 0:
        return {}
    return job.entries if version == job.version else None


def _stopped(answer: Answer) -> Told:
    return Told(state=STATES.get(answer.outcome, "failed"), detail=answer.detail or answer.outcome.value)


def _fields(told: Told) -> dict[str, Any]:
    return {"state": told.state, "detail": told.detail}


def _number(settings: Mapping[str, str], key: str) -> int:
    text = settings.get(key, "").strip()
    return min(int(text), LONGEST_LIST) if text.isascii() and text.isdecimal() and len(text) < 10 else SMALLEST

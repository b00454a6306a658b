"""Each partner hears the current state of what concerns it: in order, one call per object, as often as it takes."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from crud.partners import Partners
from csms.database import Database
from csms.journal import Listener, Wake
from ocpi_bridge.due import Circuit, Key, Room, circuit_of
from ocpi_bridge.emsp_client import Delivery as Answer
from ocpi_bridge.emsp_client import EmspClient, Peer, Reply
from ocpi_bridge.health import Health
from ocpi_bridge.ledger import Answered, Ledger
from ocpi_bridge.next_call import Job, Render
from ocpi_bridge.telling import Message, Verb

__all__ = ["Deliveries", "Render"]

log = structlog.get_logger(__name__)

GATHER_S = 0.02  # under load one look serves several changes, and one commit several answers
AT_ONCE = 8  # calls to one partner at a time
AHEAD = 4 * AT_ONCE  # made ready at a time for a partner whose last answer came within QUICK_S
QUICK_S = 0.25
PATIENT_S = 2.0  # what waited longer for its turn is given back: there may be news, or something more urgent


class _Line:
    """Of what is to be sent to one partner."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(AT_ONCE)
        self.quick = False


class Deliveries:
    """Sends what `push` made due. Rows hold only that an object changed, never how: what is sent is always its newest
    state (PU-09). Sending again after a crash is harmless, since a PUT and the POST of one CDR id can be repeated.

    One process does this for a database; should two overlap, a lease on each row keeps them from sending the same one.
    """

    def __init__(
        self,
        database: Database,
        client: EmspClient,
        partners: Partners,
        render: Render,
        *,
        wake: Wake,
        clock: Callable[[], datetime],
        poll_s: float = 0.5,
        chance: Callable[[], float] = random.random,
        doubt: Callable[[int], None] = lambda _partner_id: None,
        health: Health | None = None,
    ) -> None:
        """`doubt` is called with the id of a hub that could not deliver; `health` must hear what the client hears."""
        self._ledger = Ledger(database, partners, render, clock=clock, chance=chance)
        self._wake = wake
        self._poll_s = poll_s
        self._doubt = doubt
        self._health = health or Health(clock=clock, chance=chance)
        self._busy_at: Counter[Circuit] = Counter()
        self._flying: set[Key] = set()
        self._busy: Counter[int] = Counter()
        self._lines: defaultdict[int, _Line] = defaultdict(_Line)
        self._answered: list[Answered] = []
        self._settling = asyncio.Lock()
        self._calls: dict[tuple[str, Verb], Callable[[Peer, Message], Awaitable[Reply]]] = {
            ("tariffs", Verb.PUT): lambda to, told: client.put_tariff(to, told.body),
            ("tariffs", Verb.DELETE): lambda to, told: client.delete_tariff(to, told.path[0]),
            ("locations", Verb.PUT): lambda to, told: client.put_location(to, told.body),
            ("locations", Verb.PATCH): lambda to, told: client.patch_location(to, told.path, told.body),
            ("evses", Verb.PATCH): lambda to, told: client.patch_location(to, told.path, told.body),
            ("sessions", Verb.PUT): lambda to, told: client.put_session(to, told.body),
            ("sessions", Verb.PATCH): lambda to, told: client.patch_session(to, told.path[0], told.body),
            ("cdrs", Verb.GET): lambda to, told: client.get_cdr(to, told.path[0]),
            ("cdrs", Verb.POST): lambda to, told: client.post_cdr(to, told.body),
            ("chargingprofiles", Verb.PUT): lambda to, told: client.put_active_profile(to, told.path[0], told.body),
        }

    async def run(self) -> None:
        """Sends until cancelled. A partner that hangs holds up its own calls only."""
        with self._wake.listening() as grown:
            async with asyncio.TaskGroup() as group:
                while True:
                    for job in await asyncio.to_thread(
                        self._ledger.take, self._free, frozenset(self._flying), self._room()
                    ):
                        self._flying.add(job.due.key)
                        self._busy[job.due.partner_id] += 1
                        self._busy_at[circuit_of(job.due.partner_id, job.due.module)] += 1
                        group.create_task(self._deliver(job, grown))
                    await grown.news(poll_s=self._poll_s, gather_s=GATHER_S)

    def _free(self, partner_id: int) -> int:
        return (AHEAD if self._lines[partner_id].quick else AT_ONCE) - self._busy[partner_id]

    def _room(self) -> Room:
        """Of the circuits that are open or half-open."""
        broken = ((circuit, self._health.room(*circuit)) for circuit in self._health.broken())
        return {circuit: room - self._busy_at[circuit] for circuit, room in broken if room is not None}

    async def _deliver(self, job: Job, done: Listener) -> None:
        due = job.due
        try:
            reply = await self._call(job)
            if reply is None:
                await asyncio.to_thread(self._ledger.give_back, [job])
                return
            await self._settle((job, reply))
            if reply.delivery is Answer.HUB:
                self._doubt(due.partner_id)
            for circuit in self._health.recovered():
                await asyncio.to_thread(self._ledger.hasten, circuit)
        except Exception as error:  # one object that cannot be told must not silence the others
            log.exception("delivery_failed", module=due.module, object_id=due.object_id, partner_id=due.partner_id)
            await asyncio.to_thread(self._ledger.broken, due.id, f"{type(error).__name__}: {error}")
        finally:
            self._flying.discard(due.key)
            self._busy[due.partner_id] -= 1
            self._busy_at[circuit_of(due.partner_id, due.module)] -= 1
            done.set()

    async def _call(self, job: Job) -> Reply | None:
        """None: its turn came too late, or nothing more is sent there for now."""
        line, circuit = self._lines[job.due.partner_id], circuit_of(job.due.partner_id, job.due.module)
        now = asyncio.get_running_loop().time
        came = now()
        async with line.turn:
            began = now()
            late = began - came > PATIENT_S
            if late or self._health.room(*circuit) == 0:
                line.quick = line.quick and not late
                return None
            reply = await self._calls[job.due.module, job.message.verb](job.peer, job.message)
            line.quick = now() - began < QUICK_S
            return reply

    async def _settle(self, answered: Answered) -> None:
        """Whatever waits when the last transaction ends is settled in the next, by whoever comes first."""
        self._answered.append(answered)
        async with self._settling:
            if not any(waiting is answered for waiting in self._answered):
                return
            if self._busy.total() > len(self._answered):  # more is on its way
                await asyncio.sleep(GATHER_S)
            together, self._answered = self._answered, []
            await asyncio.to_thread(self._ledger.settle, together)

"""kill -9 between any two steps of a handshake, a push, a bill and a command: in the end both sides hold the same.

The partner says when: at a request it either does nothing (HANG) or does what it was asked and withholds its answer
(WITHHELD), the service is killed while it waits, and started again. What the service knows of a call lies in its database
from before the call until its answer, so these two are all there is between two steps.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from ocpp.routing import on
from ocpp.v16 import call_result
from sqlalchemy import select, update

from crud.models import CommandCallback, Delivery
from csms.database import Database
from csms.models import RemoteRequest
from ocpi_bridge.emsp_simulator import EmspSimulator, Fault
from tests.ocpi_bridge.equal_views import theirs
from tests.paths.charger import Charger, charging_point
from tests.paths.service import PASSWORD, Service

PATIENCE_S = 30.0
CARD = "04DDDD01"
FAULTS = (Fault.HANG, Fault.WITHHELD)
only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


class Victim:
    """The service, and a partner that says when to kill it."""

    def __init__(self, service: Service, emsp: EmspSimulator) -> None:
        self.service = service
        self.emsp = emsp
        self.kills = 0
        self._struck = asyncio.Event()
        emsp.watch = lambda _, answer: self._struck.set() if isinstance(answer, Fault) else None

    async def killed(self, place: str, fault: Fault, act: Callable[[], Awaitable[Any]]) -> None:
        """`act` leads to a call of ours at `place`, during which the service is killed; then it runs again."""
        self._struck.clear()
        self.emsp.fault(place, fault)
        acting = asyncio.ensure_future(act())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._struck.wait()
                await asyncio.wait([acting], timeout=0 if place in ("versions", "2.2.1") else None)
        finally:
            self.service.kill()
            self.emsp.clear_faults()
            (ended,) = await asyncio.gather(acting, return_exceptions=True)
        assert ended is None or isinstance(ended, httpx.HTTPError), ended
        self.kills += 1
        await self.time_passes()
        await self.service.start()

    async def time_passes(self) -> None:
        """What was in flight is left alone for a while, and a station has its time to answer; that is over now."""
        long_ago = datetime.now(UTC) - timedelta(minutes=1)
        with records(self.service) as database, database.write() as connection:
            connection.execute(update(Delivery).values(next_attempt_at=long_ago))
            open_ = RemoteRequest.outcome.is_(None)
            connection.execute(update(RemoteRequest).where(open_).values(deadline_at=long_ago))

    async def ours(self) -> dict[str, dict[str, Any]]:
        """What we show this partner over HTTP."""
        pulled = {
            module: await self.emsp.pull(module, date_from="2020-01-01T00:00:00Z")
            for module in ("tariffs", "locations", "sessions", "cdrs")
        }
        return {module: {str(body["id"]): body for body in objects} for module, objects in pulled.items()}

    async def agreed(self, **counts: int) -> None:
        """Until it holds what we show, which is as many objects as given."""
        async with asyncio.timeout(PATIENCE_S):
            while (shown := await self.ours()) != theirs(self.emsp):  # noqa: ASYNC110 (two processes share no event)
                await asyncio.sleep(0.05)
        assert {module: len(shown[module]) for module in counts} == counts
        assert self.emsp.complaints == []


@contextlib.contextmanager
def records(service: Service) -> Any:
    database = Database(service.database_url)
    try:
        yield database
    finally:
        database.dispose()


@asynccontextmanager
async def victim_of(service: Service) -> AsyncIterator[Victim]:
    async with EmspSimulator(("NL", "KIL"), strict=True) as emsp:
        yield Victim(service, emsp)


async def registered(victim: Victim) -> None:
    token_a, url = await victim.service.invite("Kill")
    await victim.emsp.register(url, token_a)
    assert (await victim.emsp.push_token(victim.emsp.issue_token(CARD))).ok


@only_sqlite
async def test_killed_in_a_handshake_the_same_invitation_is_good_again(service: Service) -> None:
    """XT-01, CR-06: also when all was written and only the answer was not sent."""
    async with victim_of(service) as victim:
        token_a, url = await service.invite("Kill")

        async def register() -> None:
            await victim.emsp.register(url, token_a)

        for place, fault in zip(("versions", "2.2.1"), FAULTS, strict=True):
            await victim.killed(place, fault, register)
            assert not victim.emsp.registered
        await register()
        service.kill()
        victim.emsp.registered, victim.emsp.outbound = False, None  # as one that heard no answer
        await service.start()
        await register()
        await victim.agreed(tariffs=1, locations=1, sessions=0, cdrs=0)
        assert (await victim.emsp.call("GET", url, token=token_a, configuration=True)).http_status == 401  # CR-05


@only_sqlite
@pytest.mark.parametrize("fault", FAULTS)
async def test_killed_while_a_partner_is_told_it_holds_all_in_the_end(service: Service, fault: Fault) -> None:
    """XT-05, PU-09, PU-11, CD-32"""
    async with victim_of(service) as victim:
        await registered(victim)
        await victim.agreed(tariffs=1, locations=1)
        began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=9)
        number = 0

        async def dearer() -> None:
            text = service.network_file.read_text().replace('price: "0.25"', 'price: "0.26"')
            service.network_file.write_text(text.replace("name: Gent Zuid", "name: Gent Noord"))
            await service.open_site()

        async def begin() -> None:
            nonlocal number
            async with charger() as here:
                number = (await here.begin(CARD, at=began)).transaction_id

        async def meter() -> None:
            async with charger() as here:
                await here.meter(number, 2000, at=began + timedelta(minutes=4))

        async def finish() -> None:
            async with charger() as here:
                await here.finish(number, 3000, at=began + timedelta(minutes=8), uid=CARD)

        @asynccontextmanager
        async def charger() -> AsyncIterator[Charger]:
            async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as here:
                yield here

        async def plugged() -> None:
            async with charger() as here:
                await here.boot()
                await here.status("Charging")

        if fault is Fault.HANG:
            await victim.killed("tariffs", fault, dearer)
            await plugged()
        else:
            await dearer()
            await victim.agreed()
            await victim.killed("locations", fault, plugged)
        await victim.killed("sessions", fault, begin)
        await victim.agreed(sessions=1)
        await victim.killed("sessions", fault, meter)
        await victim.agreed(sessions=1, cdrs=0)
        await victim.killed("cdrs", fault, finish)
        await victim.agreed(tariffs=1, locations=1, sessions=1, cdrs=1)
        (session,) = victim.emsp.sessions.values()
        assert (session["status"], session["kwh"]) == ("COMPLETED", 2)
        assert victim.kills == 4


@only_postgresql
async def test_on_postgresql_too_what_was_written_outlives_a_kill(service: Service) -> None:
    """XT-05, PU-09, CD-32, CR-06: the same in short, since only the database is another."""
    async with victim_of(service) as victim:
        token_a, url = await service.invite("Kill")
        await victim.emsp.register(url, token_a)
        service.kill()
        victim.emsp.registered, victim.emsp.outbound = False, None  # as one that heard no answer
        await service.start()
        await victim.emsp.register(url, token_a)
        assert (await victim.emsp.push_token(victim.emsp.issue_token(CARD))).ok
        began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=9)

        async def charge() -> None:
            async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as here:
                number = (await here.begin(CARD, at=began)).transaction_id
                await here.finish(number, 3000, at=began + timedelta(minutes=8), uid=CARD)

        await victim.killed("cdrs", Fault.WITHHELD, charge)
        await victim.agreed(tariffs=1, locations=1, sessions=1, cdrs=1)


class Slow(Charger):
    """Does not answer a remote start before it may."""

    def __init__(self, station_id: str, socket: Any) -> None:
        super().__init__(station_id, socket)
        self.may = asyncio.Event()

    @on("RemoteStartTransaction")
    async def remote_start(self, **fields: Any) -> Any:
        self.asked.put_nowait(("RemoteStartTransaction", fields))
        await self.may.wait()
        return call_result.RemoteStartTransaction(status="Accepted")


@only_sqlite
async def test_killed_in_a_command_its_result_comes_once_at_most(service: Service) -> None:  # CM-04, CM-06, CM-08
    async with victim_of(service) as victim:
        emsp = victim.emsp
        await registered(victim)
        card = emsp.tokens[CARD.casefold(), "RFID"]

        # While the charger thinks.
        async with charging_point(service.ocpp_url, "GENT-1", PASSWORD, Slow) as charger:
            await charger.boot()
            lost = await emsp.start_session(card, "LOC1", "GENT-1-1", "1")
            assert lost.result == "ACCEPTED"
            await charger.asked_for("RemoteStartTransaction")
            service.kill()
        await victim.time_passes()
        await service.start()
        await emsp.wait_for(lambda: lost.uid in emsp.command_results, timeout_s=PATIENCE_S)

        # While the partner takes the result, and keeps us waiting.
        async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as charger:
            await charger.boot()
            kept: list[Any] = []

            async def start() -> None:
                kept.append(await emsp.start_session(card, "LOC1", "GENT-1-1", "1"))

            await victim.killed("commands", Fault.WITHHELD, start)
            tag = (await charger.asked_for("RemoteStartTransaction"))["id_tag"]

        # The charger obeys whatever became of the service, and its session is the command's.
        async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as charger:
            await charger.begin(tag, at=datetime.now(UTC).replace(microsecond=0))
        await victim.agreed(sessions=1)
        results = {uid: body["result"] for uid, body in emsp.command_results.items()}
        assert results == {lost.uid: "TIMEOUT", kept[0].uid: "ACCEPTED"}
        posts = [request.path for request in emsp.requests if request.path.startswith("/2.2.1/commands/")]
        assert len(posts) == len(set(posts)) == 2
        with records(service) as database, database.read() as connection:
            assert None not in connection.execute(select(CommandCallback.sent_at)).scalars().all()

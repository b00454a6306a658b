"""A gateway whose workers are away, or behind, or that lost a station to another gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from csms import events
from csms.bus import Admission, StationCredentials
from csms.gateway.alone import Alone
from csms.gateway.server import Gateway, GatewaySettings
from tests.csms.gateway.gateway_rig import NOON, Rig, ask, gateway_running, receive, send, until

BOOT = [2, "b", "BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"}]
HEARTBEAT = [2, "h", "Heartbeat", {}]
TAP = [2, "a", "Authorize", {"idTag": "04A1"}]
STARTED = {"connectorId": 1, "idTag": "04A1", "meterStart": 0, "timestamp": "2025-06-01T12:00:00Z"}
START = [2, "s", "StartTransaction", STARTED]


class Workers:
    """In front of the rig's core: there or not. What was reported while they were away is answered when they are back."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._back = asyncio.Event()
        self._back.set()

    @property
    def there(self) -> bool:
        return self._back.is_set()

    def leave(self) -> None:
        self._back.clear()

    def come_back(self) -> None:
        self._back.set()

    async def report(self, event: Any) -> Any:
        reply = await self._rig.core.report(event)
        await self._back.wait()
        return reply


@asynccontextmanager
async def lonely(*, report_timeout_s: float = 25, crowded: Any = lambda: False) -> AsyncIterator[tuple[Rig, Workers]]:
    rig = Rig()
    workers = Workers(rig)
    alone = Alone(
        workers.report,
        credentials=rig.stations,
        worked=lambda: workers.there,
        rejected=lambda station_id: rig.connections.close_station(station_id, 1008, "rejected"),
        clock=lambda: NOON,
        look_every_s=0.01,
    )
    rig.gateway = Gateway(
        settings=GatewaySettings(port=0, report_timeout_s=report_timeout_s, ping_interval_s=(0.2, 0.2)),
        connections=rig.connections,
        report=alone.report,
        credentials=rig.stations,
        presence=rig.presence,
        message_log=rig.frames,
        crowded=crowded,
    )
    await rig.gateway.start()
    try:
        yield rig, workers
    finally:
        async with asyncio.timeout(30):
            await rig.gateway.stop()
            await alone.stop()


async def test_without_workers_a_heartbeat_and_the_boot_of_a_known_station_are_answered() -> None:  # B15
    async with lonely() as (rig, workers):
        rig.stations.else_ = StationCredentials(admission=Admission.KNOWN, heartbeat_interval_s=240)
        workers.leave()
        async with rig.charger() as charger:
            _, _, boot = await ask(charger, BOOT)
            assert boot == {"status": "Accepted", "currentTime": "2025-06-01T12:00:00.123Z", "interval": 240}
            assert (await ask(charger, HEARTBEAT))[2] == {"currentTime": "2025-06-01T12:00:00.123Z"}
        assert [type(event) for event in rig.core.events] == [events.StationBooted]


async def test_a_boot_that_waits_is_answered_when_the_workers_leave_meanwhile() -> None:  # B15
    async with lonely() as (rig, workers):
        held: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        rig.core.answer = lambda _: held
        async with rig.charger() as charger:
            await send(charger, BOOT)
            await until(lambda: rig.core.events)
            workers.leave()
            assert (await receive(charger))[2]["status"] == "Accepted"
        held.cancel()


async def test_without_workers_a_stranger_waits_as_everything_else_does() -> None:  # B15
    async with lonely(report_timeout_s=0.1) as (rig, workers):
        rig.stations.else_ = StationCredentials(admission=Admission.PENDING)
        workers.leave()
        async with rig.charger() as charger:
            await send(charger, BOOT)
            with pytest.raises(ConnectionClosed) as closed:
                await receive(charger)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


@pytest.mark.parametrize("call", [TAP, START], ids=["a tap", "a start"])
async def test_without_workers_all_else_waits_and_then_the_socket_closes_without_a_callerror(call: Any) -> None:  # B15
    async with lonely(report_timeout_s=0.1) as (rig, workers):
        workers.leave()
        async with rig.charger() as charger:
            await send(charger, call)
            with pytest.raises(ConnectionClosed) as closed:
                await receive(charger)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert rig.frames.having(direction="out") == []


async def test_what_waits_is_answered_when_workers_come_in_time() -> None:  # B15
    async with lonely() as (rig, workers):
        workers.leave()
        async with rig.charger() as charger:
            await send(charger, START)
            await until(lambda: rig.core.events)
            workers.come_back()
            assert (await receive(charger))[2]["transactionId"] == 4711


async def test_a_boot_that_the_core_rejects_afterwards_ends_the_connection() -> None:  # B12, B15
    async with lonely() as (rig, workers):
        rig.core.replies[events.StationBooted] = events.BootReply(
            status=events.RegistrationStatus.REJECTED, current_time=NOON, interval_s=60, close=True
        )
        workers.leave()
        async with rig.charger() as charger:
            assert (await ask(charger, BOOT))[2]["status"] == "Accepted"
            workers.come_back()
            with pytest.raises(ConnectionClosed) as closed:
                await receive(charger)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_only_the_last_boot_of_a_station_is_remembered() -> None:
    async with lonely() as (rig, workers):
        workers.leave()
        async with rig.charger() as charger:
            for _ in range(3):
                await ask(charger, BOOT)
            waiting = [task for task in asyncio.all_tasks() if "Workers.report" in repr(task.get_coro())]
            assert len([task for task in waiting if not task.cancelling()]) == 1


async def test_while_what_came_in_is_not_worked_off_newcomers_are_told_when_to_come_back() -> None:  # B15
    full = False
    async with lonely(crowded=lambda: full) as (rig, _), rig.charger() as inside:
        full = True
        with pytest.raises(InvalidStatus) as refusal:
            await rig.charger("CP2")
        assert refusal.value.response.status_code == 503
        assert 20 <= int(refusal.value.response.headers["Retry-After"]) <= 60
        assert (await ask(inside, HEARTBEAT))[0] == 3
        full = False
        async with rig.charger("CP2") as later:
            assert (await ask(later, HEARTBEAT))[0] == 3


async def test_a_station_that_came_to_another_gateway_is_let_go_here() -> None:  # B14, T9
    async with gateway_running() as rig, rig.charger() as here, rig.charger("CP2") as other:
        for charger in (here, other):
            await ask(charger, HEARTBEAT)
        older = rig.presence.story[0].connection_id
        rig.gateway.displaced("CP1", "a connection that is gone", "newer")
        rig.gateway.displaced("CP1", older, "newer")
        with pytest.raises(ConnectionClosed) as closed:
            await receive(here)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        assert rig.presence.of(tuple) == [("duplicate", "CP1", older, "newer")]
        assert (await ask(other, HEARTBEAT))[0] == 3

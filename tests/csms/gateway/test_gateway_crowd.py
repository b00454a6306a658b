"""However many come at once, those who are here are answered; who finds no room is told to come back, and loses nothing."""

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from csms.bus import Admission, StationCredentials
from csms.gateway import crowd
from tests.csms.gateway.gateway_rig import ask, gateway_running, receive, send

LOOPBACK, ANYWHERE = ip_network("127.0.0.0/8"), ip_network("0.0.0.0/0")
HEARTBEAT = [2, "1", "Heartbeat", {}]


class SlowToSay:
    """Says who may connect when it is let, and counts who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()

    async def __call__(self, station_id: str) -> StationCredentials:
        self.asked.append(station_id)
        if station_id != "INSIDE":
            await self.go.wait()
        return StationCredentials(admission=Admission.KNOWN)


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - what is awaited tells nobody
            await asyncio.sleep(0.01)


async def refusal_of(coming: Any) -> Any:
    with pytest.raises(InvalidStatus) as refusal:
        await coming
    return refusal.value.response


async def test_a_few_are_judged_at_a_time_and_the_next_one_in_line_after_them() -> None:  # X07
    async with gateway_running(handshakes_at_once=2, handshakes_in_line=3) as rig:
        slow = SlowToSay()
        rig.stations.credentials = slow  # type: ignore[method-assign]
        async with rig.charger("INSIDE") as inside:
            coming = [asyncio.ensure_future(rig.charger(f"CP{number}").__aenter__()) for number in range(5)]
            await until(lambda: len(slow.asked) == 3)
            await until(lambda: rig.gateway.crowd.full)
            assert len(slow.asked) == 3  # INSIDE and two of the five
            answer = await refusal_of(rig.charger("TOO-LATE"))
            assert answer.status_code == 503
            assert 20 <= int(answer.headers["Retry-After"]) <= 60
            assert (await ask(inside, HEARTBEAT))[0] == 3
            slow.go.set()
            let_in = await asyncio.gather(*coming)
            for charger in let_in:
                assert (await ask(charger, HEARTBEAT))[0] == 3
                await charger.close()
        assert sorted(slow.asked[1:]) == [f"CP{number}" for number in range(5)]
        assert rig.gateway.counts["told_later"] == 1
        assert rig.gateway.counts["refused"] == 0
        assert rig.frames.having(result="refused") == []  # a crowd costs no row each


async def test_who_hangs_up_in_line_gives_the_place_back() -> None:  # X07
    async with gateway_running(handshakes_at_once=1, handshakes_in_line=1) as rig:
        slow = SlowToSay()
        rig.stations.credentials = slow  # type: ignore[method-assign]
        judged = asyncio.ensure_future(rig.charger("CP1").__aenter__())
        await until(lambda: slow.asked)
        waiting = asyncio.ensure_future(rig.charger("CP2").__aenter__())
        await until(lambda: rig.gateway.crowd.full)
        waiting.cancel()
        slow.go.set()
        await (await judged).close()
        async with rig.charger("CP3") as charger:
            assert (await ask(charger, HEARTBEAT))[0] == 3
        await until(lambda: not rig.gateway.crowd.full)


async def test_who_says_nothing_or_half_a_request_does_not_hold_up_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # X07
    monkeypatch.setattr(crowd, "TURN_S", 0.05)
    async with gateway_running(handshakes_at_once=1) as rig:
        said = [b""] * 3 + [b"GET /ocpp/CP9 HTTP/1.1\r\nHost: x\r\n"] * 3
        others = []
        for beginning in said:
            _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(beginning)
            others.append(writer)
        async with rig.charger("CP1") as charger:
            assert (await ask(charger, HEARTBEAT))[0] == 3
        for writer in others:
            writer.close()


async def test_an_address_holds_so_many_sockets_and_the_next_when_one_is_gone() -> None:  # X07
    async with gateway_running(sockets_per_address=2) as rig, rig.charger("CP1") as first:
        async with rig.charger("CP2") as second:
            for charger in (first, second):
                await ask(charger, HEARTBEAT)
            answer = await refusal_of(rig.charger("CP3"))
            assert answer.status_code == 429
            assert 20 <= int(answer.headers["Retry-After"]) <= 60
        await until(lambda: not rig.gateway.crowd.crowds("127.0.0.1"))
        async with rig.charger("CP3") as third:
            assert (await ask(third, HEARTBEAT))[0] == 3


async def test_a_proxys_chargers_are_counted_by_their_own_addresses() -> None:  # X07
    everywhere = {"sockets_per_address": 1, "trusted_proxies": (LOOPBACK,), "allow_plain": (ANYWHERE,)}
    async with gateway_running(**everywhere) as rig:
        far = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in (1, 2)]
        async with (
            rig.charger("CP1", additional_headers=far[0]) as first,
            rig.charger("CP2", additional_headers=far[1]) as second,
        ):
            for charger in (first, second):
                assert (await ask(charger, HEARTBEAT))[0] == 3
            assert (await refusal_of(rig.charger("CP3", additional_headers=far[1]))).status_code == 429


async def test_who_sends_more_than_one_may_is_read_later_and_answered_all_the_same() -> None:  # X07
    async with (
        gateway_running(frames_per_s=40, ping_interval_s=(0.4, 0.4)) as rig,
        rig.charger("FLOOD") as flood,
        rig.charger("CALM") as calm,
    ):
        for number in range(60):
            await send(flood, [2, str(number), "Heartbeat", {}])
            if number % 10 == 0:
                assert (await ask(calm, HEARTBEAT))[0] == 3
        answered = [(await receive(flood))[1] for _ in range(60)]
        assert answered == [str(number) for number in range(60)]
        assert rig.gateway.counts["throttled"] >= 1
        assert {row.station_id for row in rig.frames.having(action="Heartbeat")} == {"FLOOD", "CALM"}

"""What a connection to a partner is used for, and when it is used no more."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from ocpi_bridge import kept_connections
from ocpi_bridge.outbound import Guarded, OutboundPolicy, Unanswered
from tests.listening import listening

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PATIENCE_S = 30


class Partner:
    """Answers the request of number n with `answers[n]`, and later ones with the last. `by` are the requests' connections by
    number, `heads` and `bodies` what they said."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers
        self._connections = 0
        self.by: list[int] = []
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.closed = asyncio.Event()  # by our side
        self.open = 0
        self.close_now = asyncio.Event()
        self.hold: asyncio.Event | None = None  # answers wait for it
        self._heard = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        self.open += 1
        mine = self._connections
        closing = asyncio.create_task(self._close(writer))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0"
                )
                self.bodies.append(await reader.readexactly(int(length.partition(b":")[2])))
                self.heads.append(head)
                self.by.append(mine)
                self._heard.set()
                if self.hold is not None:
                    await self.hold.wait()
                writer.write(self._answers[min(len(self.heads), len(self._answers)) - 1])
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.closed.set()
        finally:
            self.open -= 1
            closing.cancel()

    async def asked(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.by) < times:
                self._heard.clear()
                await self._heard.wait()

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        await self.close_now.wait()
        writer.close()


async def _none_open(partner: Partner) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while partner.open:
            partner.closed.clear()
            await partner.closed.wait()


@asynccontextmanager
async def calling(partner: Partner, **options: Any) -> AsyncIterator[Callable[..., Coroutine[Any, Any, Any]]]:
    guarded = Guarded(OutboundPolicy(["127.0.0.0/8"]), **options)
    async with listening(partner.serve) as port:

        def call(
            method: str = "GET", headers: Mapping[str, str] | None = None, content: bytes | None = None
        ) -> Coroutine[Any, Any, Any]:
            return guarded.request(method, f"http://127.0.0.1:{port}/cdrs?x=1", headers or {}, content)

        try:
            yield call
        finally:
            await guarded.aclose()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_one_connection_serves_calls_one_after_the_other_and_others_beside_it(run: Callable[[Any], None]) -> None:
    async def story() -> None:
        partner = Partner(OK)
        async with calling(partner) as call:
            for _ in range(3):
                assert (await call("POST", {"X": "y"}, b'{"id":"1"}')).body == b"{}"
            assert partner.by == [1, 1, 1]
            partner.hold = asyncio.Event()
            both = asyncio.gather(call(), call())
            await partner.asked(5)
            partner.hold.set()
            await both
        assert sorted(partner.by[3:]) == [1, 2]
        assert partner.bodies == [b'{"id":"1"}'] * 3 + [b"", b""]
        assert partner.heads[0].startswith(b"POST /cdrs?x=1 HTTP/1.1\r\n")
        assert partner.heads[0].lower().count(b"host: 127.0.0.1:") == 1

    run(story())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_connection_that_its_server_closed_while_it_was_idle_fails_nobody(
    run: Callable[[Any], None],
) -> None:
    async def story() -> None:
        partner = Partner(OK)
        async with calling(partner) as call:
            await call()
            partner.close_now.set()
            async with asyncio.timeout(PATIENCE_S):
                await partner.closed.wait()
            partner.close_now.clear()
            assert (await call()).status == 200
        assert partner.by == [1, 2]

    run(story())


async def test_calls_that_find_idle_connections_closed_at_the_same_time_are_answered() -> None:
    partner = Partner(OK)
    partner.hold = asyncio.Event()
    async with calling(partner) as call:
        first = asyncio.gather(*(call() for _ in range(4)))
        await partner.asked(4)
        partner.hold.set()
        await first
        partner.close_now.set()
        await _none_open(partner)
        partner.close_now.clear()
        assert [answer.status for answer in await asyncio.gather(*(call() for _ in range(4)))] == [200] * 4
    assert sorted(partner.by) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_connection_that_was_idle_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_connections, "KEEPALIVE_S", 0.0)
    partner = Partner(OK)
    async with calling(partner) as call:
        await call()
        async with asyncio.timeout(PATIENCE_S):
            await partner.closed.wait()
        await call()
    assert partner.by == [1, 2]


async def test_only_so_many_idle_connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_connections, "KEPT_AT_MOST", 2)
    partner = Partner(OK)
    async with calling(partner) as call:
        for _ in range(2):
            await asyncio.gather(*(call() for _ in range(4)))
    assert len(set(partner.by)) == 6


ANSWERS = {
    "in chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}", True),
    "after a word that it goes on": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"{}", True),
    "without a body": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "packed though nobody asked": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(gzip.compress(b"{}", mtime=0))
        + gzip.compress(b"{}", mtime=0),
        gzip.compress(b"{}", mtime=0),
        True,
    ),
}


@pytest.mark.parametrize("how", ANSWERS)
async def test_an_answer_is_whole_and_as_it_was_sent(how: str) -> None:
    said, body, kept = ANSWERS[how]
    partner = Partner(said)
    async with calling(partner) as call:
        assert (await call()).body == body
        assert (await call()).body == body
    assert partner.by == ([1, 1] if kept else [1, 2])


async def test_a_call_that_is_cancelled_closes_its_connection() -> None:
    partner = Partner(OK)
    partner.hold = asyncio.Event()
    async with calling(partner) as call:
        waiting = asyncio.create_task(call())
        await partner.asked(1)
        waiting.cancel()
        partner.hold.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(waiting, return_exceptions=True)
            await partner.closed.wait()
        await call()
    assert partner.by == [1, 2]


@pytest.mark.parametrize("kept", [False, True], ids=["a new connection", "a kept one"])
async def test_a_call_that_is_cancelled_at_any_step_leaves_no_connection_open(kept: bool) -> None:
    partner = Partner(OK)
    async with calling(partner) as call:
        for steps in range(60):
            if kept:
                await call()
            waiting = asyncio.create_task(call())
            for _ in range(steps):
                await asyncio.sleep(0)
            waiting.cancel()
            [answer] = await asyncio.gather(waiting, return_exceptions=True)
            if not isinstance(answer, BaseException) or (kept and steps == 0):  # never begun: kept for another one
                partner.close_now.set()
            await _none_open(partner)
            partner.close_now.clear()


async def test_who_waits_when_all_is_closed_is_unanswered() -> None:
    partner = Partner(OK)
    partner.hold = asyncio.Event()
    guarded = Guarded(OutboundPolicy(["127.0.0.0/8"]))
    async with listening(partner.serve) as port:
        waiting = asyncio.create_task(guarded.request("GET", f"http://127.0.0.1:{port}/", {}))
        await partner.asked(1)
        await guarded.aclose()
        with pytest.raises(Unanswered):
            await waiting
        partner.hold.set()

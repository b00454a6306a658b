"""A CSMS of a hundred lines to try chargers against: it answers, refuses, falls silent, and checks every frame's schema."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from ocpp.messages import get_validator
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from csms.simulator.profile import Profile

CALL, CALL_RESULT, CALL_ERROR = 2, 3, 4
TIMEOUT_S = 30.0
TRANSACTION_MESSAGES = ("StartTransaction", "MeterValues", "StopTransaction")


class TinyCsms:
    """`calls` are (message id, action, payload) in the order received; `silent` and `refuse` count the answers that an
    action shall not get; `violations` must stay empty."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.paths: list[str] = []
        self.authorizations: list[str | None] = []
        self.violations: list[str] = []
        self.silent: Counter[str] = Counter()
        self.refuse: Counter[str] = Counter()
        self.boot_status = "Accepted"
        self.card_status = "Accepted"
        self.current_time = lambda: datetime.now(UTC)
        self.on_call: Callable[[str, int], None] = lambda action, count: None
        self.socket: ServerConnection | None = None
        self._server: Server | None = None
        self._changed = asyncio.Condition()
        self._transactions = iter(range(1, 10_000))
        self._waiting: dict[str, tuple[str, asyncio.Future[list[Any]]]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["TinyCsms"]:
        async with serve(self._serve, "127.0.0.1", 0, subprotocols=["ocpp1.6"], ping_interval=None) as server:  # type: ignore[list-item]
            self._server = server
            yield self

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/ocpp"

    def profile(self, **of: Any) -> Profile:
        return Profile(**{"station_id": "CP001", "url": self.url, "answer_timeout_s": TIMEOUT_S} | of)

    def payloads(self, action: str) -> list[Any]:
        return [payload for _, named, payload in self.calls if named == action]

    def transaction_calls(self) -> list[tuple[str, str, Any]]:
        return [call for call in self.calls if call[1] in TRANSACTION_MESSAGES]

    def statuses(self, connector: int) -> list[str]:
        return [frame["status"] for frame in self.payloads("StatusNotification") if frame["connectorId"] == connector]

    async def received(self, action: str, count: int = 1) -> Any:
        """The count-th payload of the action, when it has come."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: len(self.payloads(action)) >= count), TIMEOUT_S)
        return self.payloads(action)[count - 1]

    async def command(self, action: str, payload: Any) -> list[Any]:
        """The charger's whole answer frame."""
        assert self.socket is not None
        message_id = uuid.uuid4().hex
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = action, future
        await self.socket.send(json.dumps([CALL, message_id, action, payload]))
        return await asyncio.wait_for(future, TIMEOUT_S)

    async def ask(self, action: str, payload: Any) -> Any:
        """The payload of a CALLRESULT, which it must be."""
        kind, _, answer = await self.command(action, payload)
        assert kind == CALL_RESULT
        return answer

    async def hang_up(self) -> None:
        assert self.socket is not None
        await self.socket.close(1012)

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.paths.append(socket.request.path)
        self.authorizations.append(socket.request.headers.get("Authorization"))
        self.socket = socket
        try:
            async for text in socket:
                await self._receive(socket, json.loads(text, parse_float=Decimal))
        except ConnectionClosed:
            return

    async def _receive(self, socket: ServerConnection, frame: list[Any]) -> None:
        kind, message_id, *rest = frame
        if kind != CALL:
            action, future = self._waiting.pop(message_id)
            if kind == CALL_RESULT:
                self._check(CALL_RESULT, action, rest[0])
            future.set_result(frame)
            return
        action, payload = rest
        self._check(CALL, action, payload)
        self.calls.append((message_id, action, payload))
        async with self._changed:
            self._changed.notify_all()
        self.on_call(action, len(self.payloads(action)))
        if self.silent[action] > 0:
            self.silent[action] -= 1
        elif self.refuse[action] > 0:
            self.refuse[action] -= 1
            await socket.send(json.dumps([CALL_ERROR, message_id, "InternalError", "", {}]))
        else:
            await socket.send(json.dumps([CALL_RESULT, message_id, self._answer(action)]))

    def _answer(self, action: str) -> Any:
        now = self.current_time().isoformat().replace("+00:00", "Z")
        if action == "BootNotification":
            return {"status": self.boot_status, "currentTime": now, "interval": 300}
        if action == "Heartbeat":
            return {"currentTime": now}
        if action == "Authorize":
            return {"idTagInfo": {"status": self.card_status}}
        if action == "StartTransaction":
            return {"transactionId": next(self._transactions), "idTagInfo": {"status": self.card_status}}
        if action in ("DataTransfer", "SignCertificate"):
            return {"status": "Accepted"}
        return {}

    def _check(self, kind: int, action: str, payload: Any) -> None:
        validator = get_validator(kind, action, "1.6", parse_float=Decimal)
        self.violations += [f"{action}: {error.message}" for error in validator.iter_errors(payload)]


@pytest.fixture
async def csms() -> AsyncIterator[TinyCsms]:
    async with TinyCsms().running() as tiny:
        yield tiny
    assert tiny.violations == []

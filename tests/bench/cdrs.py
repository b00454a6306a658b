"""From the answer to a StopTransaction to its CDR in the hands of the partner that pays, many a second."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, NamedTuple

from ocpi_bridge.emsp_simulator import EmspSimulator
from tests.bench.load import Charger, cpu_seconds

TARGET_P99_S = 1.0
STOPS_PER_S = 100
WARM_UP = 50
TARIFF = {
    "id": "BENCH",
    "currency": "EUR",
    "type": "REGULAR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": "0.45", "vat": "21.0", "step_size": 1}]}],
}
QUIET_ROUNDS, QUIET_S = 5, 1.5
PATIENCE_S = 120.0


class Stops(NamedTuple):
    """`latencies_s`: ascending. `cpu_ms`: of the service for a stop with all that follows, all that stands included."""

    latencies_s: Sequence[float]
    cpu_ms: float


async def stops(ocpp_url: str, pid: int, password: str, invitation: Mapping[str, str], chargers: int) -> Stops:
    """Each charger charges once with a card of the partner's; then they stop, `STOPS_PER_S` a second. The partner answers
    at once, in this process."""
    fleet = [Charger(number) for number in range(chargers)]
    stopped: dict[str, float] = {}
    arrived: dict[str, float] = {}
    heard = asyncio.Event()

    def note(received: Any, _answer: Any) -> None:
        if received.method == "POST" and "/cdrs" in received.path:
            arrived[received.body["cdr_token"]["uid"]] = perf_counter()
            heard.set()

    async with EmspSimulator(party=("NL", "BNC")) as emsp:
        emsp.watch = note
        await emsp.register(invitation["versions_url"], invitation["token"])
        for charger in fleet:
            await emsp.push_token(emsp.issue_token(card(charger)))
        for charger in fleet:
            await charger.connect(ocpp_url, password)
            await start(charger)
        await _until(heard, lambda: len(emsp.sessions) == chargers)
        await come_to_rest(fleet)
        before = cpu_seconds(pid)
        await asyncio.gather(*(_stop_in_turn(charger, turn, stopped) for turn, charger in enumerate(fleet)))
        await _until(heard, lambda: len(arrived) == chargers)
        used = cpu_seconds(pid) - before
        await asyncio.gather(*(charger.close() for charger in fleet))
        complaints = [str(complaint) for complaint in emsp.complaints[:3]]
    assert not complaints, complaints
    latencies = sorted(arrived[card] - at for card, at in list(stopped.items())[WARM_UP:])
    return Stops(latencies_s=latencies, cpu_ms=used / chargers * 1000)


def card(charger: Charger) -> str:
    return f"CARD-{charger.station_id}"


async def start(charger: Charger) -> None:
    payload = {"connectorId": 1, "idTag": card(charger), "meterStart": 0, "timestamp": _now()}
    answer: Any = await charger.call("StartTransaction", payload)
    assert answer["idTagInfo"]["status"] == "Accepted", answer
    charger.transaction_id = answer["transactionId"]


async def come_to_rest(fleet: Sequence[Charger]) -> None:
    """What the service asks after a Boot is answered with the next message."""
    for _ in range(QUIET_ROUNDS):
        await asyncio.gather(*(charger.call("Heartbeat", {}) for charger in fleet))
        await asyncio.sleep(QUIET_S)


async def _stop_in_turn(charger: Charger, turn: int, stopped: dict[str, float]) -> None:
    await asyncio.sleep(turn / STOPS_PER_S)
    payload = {"transactionId": charger.transaction_id, "meterStop": 5, "timestamp": _now()}
    await charger.call("StopTransaction", {**payload, "idTag": card(charger)})
    stopped[card(charger)] = perf_counter()


async def _until(heard: asyncio.Event, done: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():
            heard.clear()
            try:
                async with asyncio.timeout(0.2):
                    await heard.wait()
            except TimeoutError:
                pass


def _now() -> str:
    return datetime.now(UTC).isoformat()

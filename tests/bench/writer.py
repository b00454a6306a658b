"""What the core's writer takes of a core for an event, by the size of its batch: no loop, no sockets, no other thread."""

import argparse
import itertools
import resource
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from csms.authorization import AuthorizationStatus
from csms.core import Csms, Pending
from csms.database import Database
from csms.events import (
    ConnectorStatus,
    ConnectorStatusReported,
    MeterSample,
    MeterSampled,
    SampledValue,
    StationBooted,
    TransactionStarted,
)
from csms.journal import Wake
from csms.standing import Consulted
from tests.bench import postgres
from tests.bench.load import MEASURANDS
from tests.bench.service import open_network

SIZES = (50, 100, 500)
STATUSES = (ConnectorStatus.PREPARING, ConnectorStatus.CHARGING, ConnectorStatus.FINISHING, ConnectorStatus.AVAILABLE)
ROUND = 2_000  # events


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.writer", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgres", action="store_true", help="on a server of its own instead of SQLite")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--only", choices=["status", "samples"])
    options = parser.parse_args()
    kinds = [options.only] if options.only else ["status", "samples"]
    if options.postgres:
        with postgres.running() as server, postgres.fresh(server, "writer") as url:
            _print(url, kinds, options.sizes, options.rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _print(f"sqlite:///{folder}/writer.db", kinds, options.sizes, options.rounds)


def _print(url: str, kinds: Sequence[str], sizes: Sequence[int], rounds: int) -> None:
    stations = [f"BENCH{number:04d}" for number in range(max(sizes))]
    open_network(url, stations)
    database = Database(url)
    csms = Csms(database, send=cast(Any, None), wake=Wake(), our_party=("BE", "BEC"), follow_up=False)
    numbers = _started(csms, stations)
    printed = Table("event", "in batches of", "CPU us an event", "user", "system")
    makers = {"status": _statuses, "samples": _samples}
    for kind in kinds:
        source = makers[kind](stations, numbers)
        for size in sizes:
            took = [_round(csms, source, size) for _ in range(rounds + 1)][1:]
            user, system = (statistics.median(one) for one in zip(*took, strict=True))
            printed.add_row(kind, str(size), f"{user + system:.1f}", f"{user:.1f}", f"{system:.1f}")
    database.dispose()
    Console(width=100).print(printed)


def _round(csms: Csms, source: Iterator[Any], size: int) -> tuple[float, float]:
    batches = []
    for _ in range(ROUND // size):
        batch = [cast(Pending, Pending(next(source), None, cast(Any, None))) for _ in range(size)]
        batches.append(batch)
    before = resource.getrusage(resource.RUSAGE_THREAD)
    for batch in batches:
        answers = csms._answer(batch)
        assert all(error is None for _, error in answers)
    after = resource.getrusage(resource.RUSAGE_THREAD)
    events = len(batches) * size
    return (after.ru_utime - before.ru_utime) / events * 1e6, (after.ru_stime - before.ru_stime) / events * 1e6


def _started(csms: Csms, stations: Sequence[str]) -> dict[str, int]:
    """Every station is booted and charges; the number of each one's transaction."""
    now = datetime.now(UTC)
    said: dict[str, Any] = {"ocpp_version": "1.6", "received_at": now}
    boots = [StationBooted(station_id=name, vendor="Bench", model="B1", **said) for name in stations]
    starts = [
        TransactionStarted(station_id=name, occurred_at=now, evse=1, id_token=name, meter_start_mwh=0, **said)
        for name in stations
    ]
    csms._answer([Pending(boot, None, cast(Any, None)) for boot in boots])
    answers = csms._answer([Pending(start, Consulted(), cast(Any, None)) for start in starts])
    replies = [reply for reply, _ in answers]
    assert {reply.authorization.status for reply in replies} == {AuthorizationStatus.ACCEPTED}
    return {name: reply.transaction_id for name, reply in zip(stations, replies, strict=True)}


def _statuses(stations: Sequence[str], _: dict[str, int]) -> Iterator[Any]:
    for turn in itertools.count():
        for name in stations:
            now = datetime.now(UTC)
            yield ConnectorStatusReported(
                station_id=name,
                ocpp_version="1.6",
                received_at=now,
                occurred_at=now,
                evse=1,
                status=STATUSES[turn % len(STATUSES)],
            )


def _samples(stations: Sequence[str], numbers: dict[str, int]) -> Iterator[Any]:
    for turn in itertools.count(1):
        for name in stations:
            now = datetime.now(UTC) + timedelta(microseconds=turn)
            values = tuple(
                SampledValue(value=str(1000 + turn), measurand=measurand, unit=unit, phase=phase)
                for measurand, unit, phase in MEASURANDS
            )
            yield MeterSampled(
                station_id=name,
                ocpp_version="1.6",
                received_at=now,
                occurred_at=now,
                evse=1,
                transaction_ref=str(numbers[name]),
                samples=(MeterSample(occurred_at=now, values=values),),
            )


if __name__ == "__main__":
    main()

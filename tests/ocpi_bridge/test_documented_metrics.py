"""docs/metrics.md names what /metrics tells, and /metrics tells what docs/metrics.md names."""

import asyncio
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from csms.alerts import Alarm, raise_alarms
from csms.bus import LoggedFrame
from csms.measures import SECONDS, Distribution, Frames
from csms.metrics import Metrics
from ocpi_bridge import roles
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from tests.bench.counting import microseconds_a_frame

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ?([^|]*)\|", re.MULTILINE)
ROLES = Path(roles.__file__).parent
OF_ROLES = ("between.py", "worker.py")  # what only roles that share a bus tell
GAUGE = re.compile(r'\bgauges?\(\s*"(\w+)"')
LIMIT_S = 20


def frame(**of: object) -> LoggedFrame:
    told = {"at": datetime.now(UTC), "station_id": "CP1", "ocpp_version": "1.6", "direction": "in", "text": "[]"}
    return LoggedFrame(**told | {"message_type": "call", "message_id": "1", "action": "Heartbeat"} | of)  # type: ignore[arg-type]


async def test_the_page_names_what_the_service_tells(tmp_path: Path) -> None:  # P08
    told = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'main.db'}",
        "DATA_DIR": str(tmp_path),
        "OCPP_LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "SECRET_KEY": "a key that only the tests have",
    }
    service = Service(load({f"ROAMBRIDGE_{name}": value for name, value in told.items()}, env_file=None))
    async with asyncio.timeout(LIMIT_S):
        await service.start()
        try:
            text = (await asyncio.to_thread(service.metrics.text)).decode()
        finally:
            await service.stop()
    here = {family.name: family.type for family in text_string_to_metric_families(text)}
    ours = {name: kind for name, kind in here.items() if name.startswith("roambridge_")}
    page = {name: kind for name, kind, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert here["process_resident_memory_bytes"] == page.pop("process_resident_memory_bytes")
    of_roles = {name for file in OF_ROLES for name in GAUGE.findall((ROLES / file).read_text(encoding="utf-8"))}
    assert len(of_roles) >= 7
    assert page == ours | {f"roambridge_{name}": "gauge" for name in of_roles}


def test_frames_are_counted_by_what_they_were_and_made_up_actions_are_one() -> None:  # P08
    metrics = Metrics()
    frames = Frames(answered=metrics.seconds("answer", "a", "action"), obeyed=metrics.seconds("command", "b", "action"))
    frames.count([frame(action="Made", result="malformed"), frame(action="Up", result="malformed"), frame()])
    frames.count([frame(result="violation"), frame(direction="out", message_type="result", latency_ms=30.0)])
    frames.count([frame(direction="in", message_type="result", action="Reset", latency_ms=2000.0)])
    assert frames.read() == {
        ("1.6", "in", "call", "other", "malformed"): 2,
        ("1.6", "in", "call", "Heartbeat", "ok"): 1,
        ("1.6", "in", "call", "Heartbeat", "violation"): 1,
        ("1.6", "out", "result", "Heartbeat", "ok"): 1,
        ("1.6", "in", "result", "Reset", "ok"): 1,
    }
    lines = metrics.text().decode().splitlines()
    assert 'roambridge_answer_seconds_bucket{action="Heartbeat",le="0.025"} 0.0' in lines
    assert 'roambridge_answer_seconds_bucket{action="Heartbeat",le="0.05"} 1.0' in lines
    assert 'roambridge_answer_seconds_sum{action="Heartbeat"} 0.03' in lines
    assert 'roambridge_command_seconds_bucket{action="Reset",le="+Inf"} 1.0' in lines


def test_a_distribution_keeps_what_lies_beyond_its_bounds() -> None:
    found = Distribution(SECONDS)
    for value in (0.001, 0.0011, 31.0):
        found.add("", value)
    (_, sums, total), *others = found.read()
    assert (others, sums[0], sums[1], sums[-2], sums[-1]) == (
        [],
        ("0.001", 1),
        ("0.0025", 2),
        ("30", 2),
        ("+Inf", 3),
    )
    assert total == pytest.approx(31.0021)


@pytest.mark.alone
def test_counting_a_frame_takes_microseconds() -> None:
    began = time.process_time()
    assert microseconds_a_frame() < 10  # about one on an idle core
    assert time.process_time() - began < LIMIT_S


async def test_open_alerts_are_told_by_their_kind(tmp_path: Path) -> None:  # P10
    told = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'main.db'}",
        "DATA_DIR": str(tmp_path),
        "SECRET_KEY": "a key that only the tests have",
    }
    settings = load({f"ROAMBRIDGE_{name}": value for name, value in told.items()}, env_file=None)
    service = Service(settings)
    await service.ground.migrate()
    with service.database.write() as connection:
        alarms = [Alarm(kind="station_unseen", subject=name, station_id=name, detail={}) for name in ("CP1", "CP2")]
        raise_alarms(connection, alarms, datetime.now(UTC))
    text = await asyncio.to_thread(service.metrics.text)
    service.database.dispose()
    assert b'roambridge_alerts_open{kind="station_unseen"} 2.0' in text.splitlines()

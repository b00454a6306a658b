"""Every entry's repro, frame by frame, through the translator, the entry's own fix and the core: what is promised comes."""

import importlib
import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from csms import commands, metering
from csms.database import Database
from csms.events import ConnectorStatus, ConnectorStatusReported, StationBooted, TransactionStarted
from csms.gateway import frames
from csms.gateway.frames import Call, Unreadable
from csms.gateway.ocpp16.translator import Ocpp16
from csms.gateway.quirks.applied import Applied, apply
from csms.gateway.quirks.catalogue import Quirk, Quirks, load
from csms.gateway.quirks.fixes import FIXES, StationTwin
from csms.journal import FactType
from csms.models import AuthorizationDecision, JournalEntry, Station
from tests.csms.core_story import Story, told

QUIRKS = load()
OURS = "> "  # a frame that we must send
PROMISES = {
    "events", "transactions", "facts", "decisions", "registered", "sends", "pings", "left_alone", "throttle_key",
    "assumes_version",
}  # fmt: skip


class Repro:
    """One station that says what stands in the entry, at the times that stand in it."""

    def __init__(self, quirk: Quirk, story: Story) -> None:
        self.quirk = quirk
        self.story = story
        self.translator = Ocpp16()
        self.counts: Counter[str] = Counter()
        self.applied: Applied | None = None
        self.boot: tuple[str, str, str | None] = ("", "", None)
        self.events: list[Any] = []
        self.transaction_id = 0

    async def play(self) -> None:
        for line in self.quirk.repro:
            if not line.startswith(OURS):
                await self._said(line.replace("@transaction", str(self.transaction_id)))

    async def _said(self, line: str) -> None:
        moment = re.search(r'"timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)[^"]*?([+-]\d{4})?"', line)
        if moment is not None:
            told = datetime.fromisoformat(moment[1] + (moment[2] or "+0000"))
            self.story.now = max(self.story.now, told.astimezone(UTC))
        data = line.encode()
        frame = frames.parse(data)
        if isinstance(frame, Unreadable) and self.applied is not None:
            frame = self.applied.reread(data, frame)
        assert isinstance(frame, Call), frame
        event = self.translator.read(frame, "CP1", self.story.now)
        if isinstance(event, StationBooted):
            self.boot = (event.vendor, event.model, event.firmware_version)
            self.applied = apply(QUIRKS.of(*self.boot), self.counts)
        passed = event if self.applied is None else self.applied.event(event)
        self.events.append(passed)
        if passed is not None:
            reply = await self.story.csms.report(passed)
            assert isinstance(self.translator.reply(frame.action, reply), dict)
            if isinstance(passed, TransactionStarted):
                self.transaction_id = reply.transaction_id


@pytest.mark.parametrize("quirk", [*QUIRKS], ids=lambda quirk: quirk.id)
async def test_the_repro_of_an_entry_gives_what_it_promises(database: Database, quirk: Quirk) -> None:
    # Q01, Q02, Q03, Q04, Q05, Q06, D02, X04, X05, X16, X17, X18, X19, X20, E09, E10, T6
    async with told(database) as story:
        story.site("CP1")
        story.card()
        repro = Repro(quirk, story)
        await repro.play()
        expected = dict(quirk.expect)
        assert set(expected) <= PROMISES
        if "events" in expected:
            assert [_shown(event, fields) for event, fields in zip(repro.events, expected["events"], strict=True)] == (
                expected["events"]
            )
        if "transactions" in expected:
            rows = story.transactions()
            assert [_columns(row, fields) for row, fields in zip(rows, expected["transactions"], strict=True)] == (
                expected["transactions"]
            )
        for type_, count in expected.get("facts", {}).items():
            assert sum(entry.type == type_ for entry in story.rows(JournalEntry)) == count
        if "decisions" in expected:
            assert [row.status for row in story.rows(AuthorizationDecision)] == expected["decisions"]
        if "registered" in expected:
            (station,) = story.rows(Station)
            assert station.registered == expected["registered"]
        if "pings" in expected:
            assert repro.applied is not None
            assert repro.applied.pings is expected["pings"]
        if "assumes_version" in expected:
            assert FIXES[quirk.fix].assumes_version is expected["assumes_version"]
        assert sorted(QUIRKS.left_alone(*repro.boot)) == expected.get("left_alone", [])
        assert QUIRKS.throttle_key(*repro.boot) == expected.get("throttle_key")
        _is_sent(repro, expected.get("sends", []))
        if FIXES[quirk.fix].event or FIXES[quirk.fix].text or FIXES[quirk.fix].command:
            assert repro.counts[f"quirk:{quirk.id}"] > 0
        if not quirk.of_anybody:
            assert quirk in QUIRKS.of(*repro.boot)


@pytest.mark.parametrize("order", [(1, 0), (0, 1)], ids=["connector_first", "station_first"])
async def test_twins_change_an_evse_once_whichever_comes_first(database: Database, order: tuple[int, int]) -> None:
    # Q01, T6
    async with told(database) as story:
        story.site("CP1", evses=1)
        twin = StationTwin()
        for word in (ConnectorStatus.AVAILABLE, ConnectorStatus.PREPARING, ConnectorStatus.FAULTED):
            story.pass_time(minutes=1)
            for evse in order:
                event = ConnectorStatusReported(
                    station_id="CP1", ocpp_version="1.6", received_at=story.now, evse=evse, status=word
                )
                if twin(event) is not None:
                    await story.csms.report(event)
        facts = [entry.data["status"] for entry in story.rows(JournalEntry) if entry.type == FactType.EVSE_STATUS]
        assert facts == ["available", "preparing", "faulted"]
        (station,) = story.rows(Station)
        assert station.status == "faulted"


@pytest.mark.parametrize("quirk", [*QUIRKS], ids=lambda quirk: quirk.id)
def test_what_the_core_is_said_to_do_is_done_somewhere(quirk: Quirk) -> None:
    if not quirk.handled_by:
        return
    module, _, name = quirk.handled_by.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        module, _, kind = module.rpartition(".")
        found = getattr(getattr(importlib.import_module(module), kind), name)
    assert callable(found)


def test_without_its_entry_a_repro_comes_out_wrong() -> None:
    """The fix is what helps: the same frame, of a station nobody has an entry for."""
    event = Ocpp16().read(_call('[2,"2","Authorize",{"idTag":"04A2DAA2_17619300"}]'), "CP1", datetime.now(UTC))
    assert apply(QUIRKS.of("Acme", "X", "1"), Counter()) is None
    assert event.id_token == "04A2DAA2_17619300"  # type: ignore[attr-defined]
    assert isinstance(
        frames.parse(b'[2,"3","MeterValues",{"connectorId":1,"transactionId":,"meterValue":[]}]'), Unreadable
    )
    assert Quirks().of("KEBA", "", "") == ()


def _call(line: str) -> Call:
    frame = frames.parse(line.encode())
    assert isinstance(frame, Call)
    return frame


def _shown(event: Any, fields: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if event is None or fields is None else {name: _field(event, name) for name in fields}


def _field(event: Any, name: str) -> Any:
    if name == "registers_mwh":
        return [reading.energy_mwh for reading in metering.register_readings(event.samples)]
    value = getattr(event, name)
    return value.isoformat() if isinstance(value, datetime) else value


def _columns(row: Any, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: sorted(row.flags) if name == "flags" else getattr(row, name) for name in fields}


def _is_sent(repro: Repro, sends: list[dict[str, Any]]) -> None:
    ours = [json.loads(line.removeprefix(OURS)) for line in repro.quirk.repro if line.startswith(OURS)]
    for (_, _, action, payload), asked in zip(ours, sends, strict=True):
        fields = dict(asked)
        command = getattr(commands, fields.pop("command"))(station_id="CP1", **fields)
        if repro.applied is not None:
            command = repro.applied.command(command)
        assert repro.translator.request(command) == (action, payload)

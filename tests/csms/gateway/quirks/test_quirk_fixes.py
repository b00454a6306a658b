"""Each fix says what the charger meant, leaves all else the same object, and is counted."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from csms import commands, events
from csms.events import ConnectorStatus
from csms.gateway.frames import Call, Unreadable
from csms.gateway.quirks.applied import Applied, apply
from csms.gateway.quirks.catalogue import Quirk
from csms.gateway.quirks.fixes import (
    FIXES,
    StationTwin,
    null_for_no_value,
    reversed_bytes,
    wh_is_kwh,
    without_separators,
    without_suffix,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def status(evse: int, word: ConnectorStatus, after_s: float = 0, error_code: str = "NoError") -> Any:
    return events.ConnectorStatusReported(
        station_id="CP1",
        ocpp_version="1.6",
        received_at=NOON + timedelta(seconds=after_s),
        evse=evse,
        status=word,
        error_code=error_code,
    )


CHARGING, AVAILABLE, FAULTED = ConnectorStatus.CHARGING, ConnectorStatus.AVAILABLE, ConnectorStatus.FAULTED
UNAVAILABLE = ConnectorStatus.UNAVAILABLE


@pytest.mark.parametrize(
    ("told", "passes"),
    [
        # the twin: told once
        ([status(1, CHARGING), status(0, CHARGING, 0.1)], [True, False]),
        ([status(1, CHARGING), status(0, CHARGING, 2)], [True, False]),
        ([status(0, AVAILABLE), status(1, AVAILABLE), status(0, AVAILABLE, 1)], [True, True, False]),
        # no twin: later, another status, another error
        ([status(1, CHARGING), status(0, CHARGING, 2.1)], [True, True]),
        ([status(1, CHARGING), status(0, AVAILABLE, 0.1)], [True, True]),
        ([status(1, CHARGING), status(0, CHARGING, 0.1, "OverCurrentFailure")], [True, True]),
        # connector 0 is the whole station: trouble, its end, and its first Available always pass
        ([status(1, FAULTED), status(0, FAULTED, 0.1)], [True, True]),
        ([status(1, UNAVAILABLE), status(0, UNAVAILABLE, 0.1)], [True, True]),
        ([status(0, FAULTED), status(1, AVAILABLE, 9), status(0, AVAILABLE, 9.1)], [True, True, True]),
        ([status(1, AVAILABLE), status(0, AVAILABLE, 0.1)], [True, True]),
        # when it comes first, both pass: the station's status and the connector's
        ([status(0, CHARGING), status(1, CHARGING, 0.1)], [True, True]),
        # connector 1 is never dropped
        ([status(1, CHARGING), status(1, CHARGING, 0.1)], [True, True]),
        # with a second connector it is no twin
        ([status(2, AVAILABLE), status(1, CHARGING), status(0, CHARGING, 0.1)], [True, True, True]),
    ],
)
def test_connector_zero_is_dropped_when_it_repeats_connector_one(told: list[Any], passes: list[bool]) -> None:
    # Q01, T6
    twin = StationTwin()
    assert [twin(event) is event for event in told] == passes


def test_each_connection_remembers_for_itself() -> None:  # T6
    fix = FIXES["drop_station_twin"].event
    assert fix is not None
    here, there = fix(), fix()
    assert here(status(1, CHARGING)) is not None
    assert there(status(0, CHARGING, 0.1)) is not None
    assert here(status(0, CHARGING, 0.1)) is None


@pytest.mark.parametrize(
    ("spelled", "raw", "read"),
    [
        (reversed_bytes, "A2DAA204", "04A2DAA2"),
        (reversed_bytes, "04a2", "a204"),
        (reversed_bytes, "04A", "04A"),
        (reversed_bytes, "DE-8EO-C1", "DE-8EO-C1"),
        (reversed_bytes, "", ""),
        (without_separators, "04:A2:DA:A2", "04A2DAA2"),
        (without_separators, "04-a2-da", "04a2da"),
        (without_separators, " F6 CA 0C C5", "F6CA0CC5"),
        (without_separators, "04:A2-DA", "04:A2-DA"),
        (without_separators, "BE-BEC-04A2", "BE-BEC-04A2"),
        (without_separators, "04A2DAA2", "04A2DAA2"),
        (without_suffix, "04A2_17619300", "04A2"),
        (without_suffix, "04_A2_1", "04_A2"),
        (without_suffix, "04A2", "04A2"),
        (without_suffix, "_1", "_1"),
    ],
)
def test_cards_are_spelled_as_they_are_known(spelled: Any, raw: str, read: str) -> None:  # D02
    assert spelled(raw) == read


def test_card_fixes_are_for_whatever_names_a_card() -> None:  # D02
    fix = FIXES["strip_id_token_suffix"].event
    assert fix is not None
    read = fix()
    common = {"station_id": "CP1", "ocpp_version": "1.6", "received_at": NOON}
    tap = events.IdTokenPresented(**common, id_token="04A2_1")
    start = events.TransactionStarted(**common, evse=1, id_token="04A2_1", meter_start_mwh=0)
    stop = events.TransactionEnded(**common, transaction_ref="1", meter_stop_mwh=0, id_token="04A2_1")
    for event in (tap, start, stop):
        fixed: Any = read(event)
        assert (fixed.id_token, fixed.event_id) == ("04A2", event.event_id)
    nobody = events.TransactionEnded(**common, transaction_ref="1", meter_stop_mwh=0)
    assert read(nobody) is nobody
    beat = events.HeartbeatReceived(**common)
    assert read(beat) is beat


def test_a_station_that_reverses_cards_is_sent_them_reversed() -> None:  # D02
    fix = FIXES["reverse_id_token_bytes"].command
    assert fix is not None
    start: Any = fix(commands.StartRemotely(station_id="CP1", id_token="04A2DAA2"))
    assert start.id_token == "A2DAA204"
    entries = (commands.ListedToken(id_token="04A2"), commands.ListedToken(id_token="BE-BEC-1"))
    listed: Any = fix(commands.SendLocalList(station_id="CP1", version=1, full=True, entries=entries))
    assert [entry.id_token for entry in listed.entries] == ["A204", "BE-BEC-1"]
    reset = commands.ResetStation(station_id="CP1")
    assert fix(reset) is reset


def test_only_energy_that_says_wh_is_read_as_kwh() -> None:  # X16
    value = events.SampledValue
    sample = events.MeterSample(
        occurred_at=NOON,
        values=(
            value(value="361", unit="Wh"),
            value(value="362"),
            value(value="363", unit="kWh"),
            value(value="9451", measurand="Power.Active.Import", unit="W"),
            value(value="7", measurand="Energy.Reactive.Import.Register", unit="varh"),
        ),
    )
    common = {"station_id": "CP1", "ocpp_version": "1.6", "received_at": NOON}
    sampled: Any = wh_is_kwh(events.MeterSampled(**common, evse=1, samples=(sample,)))
    assert [reading.unit for reading in sampled.samples[0].values] == ["kWh", "kWh", "kWh", "W", "varh"]
    started: Any = wh_is_kwh(events.TransactionStarted(**common, evse=1, id_token="", meter_start_mwh=361_000))
    assert started.meter_start_mwh == 361_000_000
    unread = events.TransactionStarted(**common, evse=1, id_token="", meter_start_mwh=None)
    assert wh_is_kwh(unread) is unread
    right = events.MeterSampled(**common, evse=1, samples=(events.MeterSample(values=(value(value="1", unit="kWh"),)),))
    assert wh_is_kwh(right) is right


def test_a_value_that_is_missing_is_null() -> None:
    assert null_for_no_value(b'{"a":,"b": ,"c":1,"d":}') == b'{"a":null,"b":null ,"c":1,"d":null}'


# ---- on a connection ------------------------------------------------------------------------------------------------


def applied(*fixes: str) -> tuple[Applied | None, Counter[str]]:
    counts: Counter[str] = Counter()
    quirks = [
        Quirk(
            id=fix.replace("_", "-"), vendor="Acme", model="*", firmware="*", why="w", source="s", repro=("r",),
            expect={"pings": True}, fix=fix, handled_by="", settings={},
        )
        for fix in fixes
    ]  # fmt: skip
    return apply(quirks, counts), counts


def test_a_station_without_a_quirk_that_acts_has_nothing_applied() -> None:
    assert applied()[0] is None
    assert applied("handled_by_core", "leave_settings_alone", "throttle_by_key")[0] is None


def test_what_is_fixed_is_counted_and_what_is_right_is_not() -> None:
    here, counts = applied("strip_id_token_suffix", "null_for_no_value", "drop_station_twin", "reverse_id_token_bytes")
    assert here is not None
    assert here.pings
    tap = events.IdTokenPresented(station_id="CP1", ocpp_version="1.6", received_at=NOON, id_token="A204_1")
    fixed: Any = here.event(tap)
    assert fixed.id_token == "04A2"
    here.event(status(1, CHARGING))
    assert here.event(status(0, CHARGING)) is None
    bad = Unreadable("not JSON", reply_to="-1")
    assert isinstance(here.reread(b'[2,"1","Heartbeat",{"a":}]', bad), Call)
    assert here.reread(b"[2,", bad) is bad
    here.command(commands.StartRemotely(station_id="CP1", id_token="04A2"))
    here.command(commands.ResetStation(station_id="CP1"))
    assert counts == {
        "quirk:strip-id-token-suffix": 1,
        "quirk:null-for-no-value": 1,
        "quirk:drop-station-twin": 1,
        "quirk:reverse-id-token-bytes": 2,
    }
    never, _ = applied("never_ping")
    assert never is not None
    assert not never.pings

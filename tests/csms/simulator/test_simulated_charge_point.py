"""The simulated charger on a real socket: identity, boot, queue and retries. Each frame's schema is checked by the CSMS."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from csms.simulator.charge_point import ChargePoint
from csms.simulator.clock import SimClock
from csms.simulator.wire import Fate, NoAnswer, NotAccepted, NotConnected

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


async def test_identity_is_percent_encoded_and_the_password_is_http_basic(csms: Any) -> None:  # B11
    async with ChargePoint(csms.profile(station_id="Zürich/7 a", password="s3cret")) as charge_point:
        await charge_point.start()
    assert csms.paths == ["/ocpp/Z%C3%BCrich%2F7%20a"]
    assert base64.b64decode(csms.authorizations[0].removeprefix("Basic ")) == "Zürich/7 a:s3cret".encode()


async def test_a_password_may_be_raw_bytes(csms: Any) -> None:
    async with ChargePoint(csms.profile(password=b"\xff\x00\xfe")) as charge_point:
        await charge_point.connect()
    assert base64.b64decode(csms.authorizations[0].removeprefix("Basic ")) == b"CP001:\xff\x00\xfe"


async def test_boot_says_who_it_is_then_every_connector_reports(csms: Any) -> None:  # C01
    async with ChargePoint(csms.profile(serial_number="SN1", connectors=2)) as charge_point:
        await charge_point.start()
    assert [action for _, action, _ in csms.calls] == ["BootNotification"] + 3 * ["StatusNotification"]
    assert csms.payloads("BootNotification")[0]["chargePointSerialNumber"] == "SN1"
    assert [frame["connectorId"] for frame in csms.payloads("StatusNotification")] == [0, 1, 2]


async def test_a_charger_that_must_wait_boots_again_and_reports_nothing(csms: Any) -> None:  # X12
    csms.boot_status = "Pending"
    async with ChargePoint(csms.profile()) as charge_point:
        with pytest.raises(NotAccepted, match="Pending"):
            await charge_point.start(boot_attempts=3)
    assert [action for _, action, _ in csms.calls] == 3 * ["BootNotification"]


async def test_a_twin_reports_its_only_connector_twice(csms: Any) -> None:  # T6
    async with ChargePoint(csms.profile(connectors=1, twin_status=True)) as charge_point:
        await charge_point.start()
        await charge_point.plug(1)
    assert (csms.statuses(0)[-1], csms.statuses(1)[-1]) == ("Preparing", "Preparing")


async def test_nobody_listening_is_said_in_one_exception(csms: Any) -> None:
    async with ChargePoint(csms.profile(url="ws://127.0.0.1:1/ocpp")) as charge_point:
        with pytest.raises(NotConnected):
            await charge_point.connect()
        with pytest.raises(NotConnected):
            await charge_point.authorize("CARD")


async def test_a_null_byte_before_the_card_number_reaches_the_wire(csms: Any) -> None:  # D03
    frames: list[tuple[str, str]] = []
    profile = csms.profile(id_token_prefix="\u0000")
    async with ChargePoint(profile, on_frame=lambda *frame: frames.append(frame)) as charge_point:
        await charge_point.start()
        assert await charge_point.authorize("04A2") == {"idTagInfo": {"status": "Accepted"}}
    assert csms.payloads("Authorize") == [{"idTag": "\u000004A2"}]
    assert '{"idTag":"\\u000004A2"}' in frames[-2][1]
    assert [direction for direction, _ in frames[-2:]] == ["sent", "received"]


async def test_timestamps_follow_the_story_s_clock(csms: Any) -> None:
    async with ChargePoint(csms.profile(follows_current_time=False), clock=SimClock(NOON)) as charge_point:
        await charge_point.start()
        await charge_point.start_transaction(1, "CARD")
        await charge_point.clock.advance(3600)
        transaction = await charge_point.stop_transaction(1)
    assert transaction is not None
    assert transaction.energy_mwh == 11_000_000
    assert csms.payloads("StartTransaction")[0]["timestamp"] == "2026-05-04T12:00:00.000Z"
    assert csms.payloads("StopTransaction")[0]["timestamp"] == "2026-05-04T13:00:00.000Z"


async def test_a_wrong_clock_is_set_by_current_time_unless_it_ignores_it(csms: Any) -> None:  # F02
    for follows, offset in ((True, timedelta()), (False, timedelta(hours=-9))):
        profile = csms.profile(clock_offset=timedelta(hours=-9), follows_current_time=follows)
        async with ChargePoint(profile) as charge_point:
            await charge_point.start()
            stamped = datetime.fromisoformat(csms.payloads("StatusNotification")[-1]["timestamp"])
        assert abs(stamped - datetime.now(UTC) - offset) < timedelta(seconds=30)


async def test_each_message_waits_for_the_answer_to_the_one_before(csms: Any) -> None:  # X03
    profile = csms.profile(answer_timeout_s=1.0)
    csms.silent["StartTransaction"] = 2
    async with ChargePoint(profile) as charge_point:
        await charge_point.plug(1)
        transaction = await charge_point.start_transaction(1, "CARD")  # no line yet: these queue
        await charge_point.meter_values(1)
        await charge_point.stop_transaction(1)
        assert (len(charge_point.outbox), transaction.transaction_id) == (3, None)
        await charge_point.start()
        await charge_point.outbox.drained(timeout_s=30)
    calls = csms.transaction_calls()
    assert [action for _, action, _ in calls] == 3 * ["StartTransaction"] + ["MeterValues", "StopTransaction"]
    assert [payload["transactionId"] for _, _, payload in calls[3:]] == 2 * [transaction.transaction_id]


async def test_a_retry_repeats_the_payload_under_a_new_id(csms: Any) -> None:  # X02
    csms.refuse["StartTransaction"] = 1
    async with ChargePoint(csms.profile()) as charge_point:
        await charge_point.start()
        await charge_point.start_transaction(1, "CARD")
    (first_id, _, first), (second_id, _, second) = csms.transaction_calls()
    assert first == second
    assert first_id != second_id
    fates = [exchange.fate for exchange in charge_point.exchanges if exchange.action == "StartTransaction"]
    assert fates == [Fate.REFUSED, Fate.ANSWERED]


async def test_a_message_that_is_never_accepted_is_dropped_and_the_stop_names_no_transaction(
    csms: Any,
) -> None:  # X01, X04
    csms.refuse["StartTransaction"] = 3
    async with ChargePoint(csms.profile()) as charge_point:
        await charge_point.start()
        await charge_point.start_transaction(1, "CARD")
        await charge_point.stop_transaction(1)
    assert [exchange.action for exchange in charge_point.outbox.dropped] == ["StartTransaction"]
    assert csms.payloads("StopTransaction")[0]["transactionId"] == -1


async def test_lost_answers_make_repeats_and_the_last_answer_counts(csms: Any) -> None:  # E03
    async with ChargePoint(csms.profile(lost_answers=2)) as charge_point:
        await charge_point.start()
        transaction = await charge_point.start_transaction(1, "CARD")
    ids = [message_id for message_id, _, _ in csms.transaction_calls()]
    assert len(ids) == len(set(ids)) == 3
    fates = [exchange.fate for exchange in charge_point.exchanges if exchange.action == "StartTransaction"]
    assert fates == [Fate.LOST, Fate.LOST, Fate.ANSWERED]
    assert transaction.transaction_id == 3  # this CSMS gives each repeat a new one, as a careless one would


async def test_what_a_cut_line_left_unanswered_is_sent_again_on_the_next(csms: Any) -> None:  # X03
    csms.silent["MeterValues"] = 1
    hang_ups: list[asyncio.Task[None]] = []

    def cut(action: str, count: int) -> None:
        if (action, count) == ("MeterValues", 1):
            hang_ups.append(asyncio.create_task(csms.hang_up()))

    csms.on_call = cut
    async with ChargePoint(csms.profile(reconnect_after_s=0.0)) as charge_point:
        await charge_point.start()
        await charge_point.start_transaction(1, "CARD")
        await charge_point.meter_values(1)
        await charge_point.outbox.drained(timeout_s=30)
        await asyncio.gather(*hang_ups)
    assert len(csms.paths) == 2
    assert len(csms.payloads("BootNotification")) == 1  # a new line is no reboot
    (first_id, _, first), (second_id, _, second) = csms.transaction_calls()[1:]
    assert (first, first_id != second_id) == (second, True)


async def test_a_refused_card_ends_the_transaction(csms: Any) -> None:
    csms.card_status = "Invalid"
    async with ChargePoint(csms.profile()) as charge_point:
        await charge_point.start()
        transaction = await charge_point.start_transaction(1, "CARD")
        await charge_point.outbox.drained(timeout_s=30)
    assert (transaction.authorization, transaction.ended) == ("Invalid", True)
    assert csms.payloads("StopTransaction")[0]["reason"] == "DeAuthorized"
    assert "Charging" not in csms.statuses(1)


async def test_a_suspended_car_draws_nothing_and_unplugging_ends_it(csms: Any) -> None:  # E05
    async with ChargePoint(csms.profile()) as charge_point:
        await charge_point.start()
        await charge_point.plug(2)
        await charge_point.start_transaction(2, "CARD")
        await charge_point.suspend(2)
        await charge_point.clock.advance(3600)
        await charge_point.resume(2)
        await charge_point.clock.advance(3600)
        await charge_point.unplug(2)
    stop = csms.payloads("StopTransaction")[0]
    assert (stop["reason"], "idTag" in stop) == ("EVDisconnected", False)
    assert stop["meterStop"] - csms.payloads("StartTransaction")[0]["meterStart"] == 11_000
    assert csms.statuses(2)[1:] == ["Preparing", "Charging", "SuspendedEV", "Charging", "Finishing", "Available"]


async def test_a_lying_unit_and_no_unit_at_all(csms: Any) -> None:  # E10, X16
    for label in ("Wh", None):
        async with ChargePoint(csms.profile(meter_unit="kWh", unit_label=label)) as charge_point:
            await charge_point.start()
            await charge_point.start_transaction(1, "CARD")
            await charge_point.meter_values(1)
            await charge_point.stop_transaction(1)
        energy = csms.payloads("MeterValues")[-1]["meterValue"][0]["sampledValue"][0]
        assert (energy["value"], energy.get("unit")) == ("12.345678", label)


async def test_an_unanswered_authorize_is_not_repeated(csms: Any) -> None:
    csms.silent["Authorize"] = 1
    async with ChargePoint(csms.profile(answer_timeout_s=1.0)) as charge_point:
        await charge_point.start()
        with pytest.raises(NoAnswer, match="silent"):
            await charge_point.authorize("CARD")
    assert len(csms.payloads("Authorize")) == 1

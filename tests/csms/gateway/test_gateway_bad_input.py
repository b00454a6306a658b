"""What no charger should send: the protocol's own clear error, one row, nobody else harmed, no transaction lost."""

import asyncio
from typing import Any

import orjson
import pytest
from websockets import exceptions

from csms import events
from csms.bus import ConnectionClosed
from tests.csms.gateway.gateway_rig import NOON, Rig, ask, gateway_running, receive, send, until

T = "2025-06-01T10:30:00Z"
START = {"connectorId": 1, "idTag": "04A1", "meterStart": 10, "timestamp": T}
STOP = {"transactionId": 4711, "meterStop": 20, "timestamp": T}


async def still_fine(charger: Any) -> None:
    assert await ask(charger, [2, "fine", "Heartbeat", {}]) == [3, "fine", {"currentTime": "2025-06-01T12:00:00.123Z"}]


async def test_the_literal_frame_gets_its_answer(rig: Rig) -> None:  # H06
    async with rig.charger() as charger:
        answer = await ask(charger, '[2,"e2b81cc5-3670-4702-acac-283286697741","Heartbeat",{}]')
    assert answer == [3, "e2b81cc5-3670-4702-acac-283286697741", {"currentTime": "2025-06-01T12:00:00.123Z"}]
    assert rig.core.replies[events.HeartbeatReceived].current_time == NOON


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        ("", [4, "-1", "FormationViolation"]),
        ('[2,"1","Heartbeat",{}', [4, "-1", "FormationViolation"]),
        ('{"not":"an array"}', [4, "-1", "FormationViolation"]),
        ('[2,"1"]', [4, "1", "FormationViolation"]),
        ('[2,"1","Dance",{}]', [4, "1", "NotImplemented"]),
        ('[2,"1","Reset",{"type":"Hard"}]', [4, "1", "NotSupported"]),
        ('[2,"1","Authorize",{}]', [4, "1", "ProtocolError"]),
        ('[2,"1","Authorize",{"idTag":[]}]', [4, "1", "TypeConstraintViolation"]),
        ('[2,"1","FirmwareStatusNotification",{"status":null}]', [4, "1", "TypeConstraintViolation"]),
    ],
)  # fmt: skip
async def test_what_is_unusable_gets_its_callerror_and_a_row(rig: Rig, frame: str, answer: list[str]) -> None:  # A13
    async with rig.charger() as charger:
        assert (await ask(charger, frame))[:3] == answer
        await still_fine(charger)
    (row,) = rig.frames.having(result="malformed")
    assert row.text == frame
    (out,) = rig.frames.having(message_type="error", direction="out", result="rejected")
    assert out.message_id == answer[1]
    assert rig.gateway.counts["malformed"] == 1


@pytest.mark.parametrize("frame", ['[5,"1","x",{}]', '[6,"1","x",{}]', '[9,"1","x",{}]', "[3]"])
async def test_frames_of_other_types_are_logged_and_not_answered(rig: Rig, frame: str) -> None:  # H04
    async with rig.charger() as charger:
        await send(charger, frame)
        await still_fine(charger)
    assert [row.text for row in rig.frames.having(result="malformed")] == [frame]


@pytest.mark.parametrize("frame", ['[3,"nobody-asked",{}]', '[4,"nobody-asked","GenericError","",{}]'])
async def test_answers_nobody_asked_for_are_dropped_and_counted(rig: Rig, frame: str) -> None:  # H05
    async with rig.charger() as charger:
        await send(charger, frame)
        await still_fine(charger)
    assert rig.gateway.counts["unsolicited"] == 1
    (row,) = rig.frames.having(result="unsolicited")
    assert (row.direction, row.message_id) == ("in", "nobody-asked")


@pytest.mark.parametrize(
    "message_id", ["1", "ü—充電", "x" * 300, 'quote"back\\slash', 42, "00000000-0000-0000-0000-000000000000"]
)
async def test_message_ids_come_back_as_they_were(rig: Rig, message_id: Any) -> None:  # H05
    async with rig.charger() as charger:
        assert (await ask(charger, [2, message_id, "Heartbeat", {}]))[1] == message_id


async def test_a_message_id_used_again_is_a_message_again(rig: Rig) -> None:
    """What is a repeat is for the core to say: it knows what is stored."""
    held = asyncio.Event()

    async def answer(event: Any) -> Any:
        await held.wait()
        return rig.core.replies[type(event)]

    rig.core.answer = answer
    async with rig.charger() as charger:
        await send(charger, [2, "same", "StartTransaction", START])
        await send(charger, [2, "same", "StartTransaction", START])
        await send(charger, [2, "same", "Heartbeat", {}])
        held.set()
        answers = [await receive(charger) for _ in range(3)]
    assert [answer[:2] for answer in answers] == [[3, "same"]] * 3
    assert answers[0] == answers[1]
    assert len({event.event_id for event in rig.core.events}) == 3


@pytest.mark.parametrize(
    ("action", "payload", "answer"),
    [
        ("StartTransaction", {}, {"transactionId": 4711, "idTagInfo": {"status": "Accepted"}}),
        ("StartTransaction", None, {"transactionId": 4711, "idTagInfo": {"status": "Accepted"}}),
        ("StartTransaction", START | {"meterStart": "x"}, {"transactionId": 4711, "idTagInfo": {"status": "Accepted"}}),
        ("StartTransaction", START | {"idTag": "x" * 300}, {"transactionId": 4711, "idTagInfo": {"status": "Accepted"}}),
        ("StopTransaction", STOP | {"meterStop": -1}, {"idTagInfo": {"status": "Accepted"}}),
        ("StopTransaction", STOP | {"transactionData": 7}, {"idTagInfo": {"status": "Accepted"}}),
        ("StopTransaction", STOP | {"reason": None}, {"idTagInfo": {"status": "Accepted"}}),
        ("MeterValues", {"connectorId": 1, "meterValue": [{"timestamp": T, "sampledValue": []}]}, {}),
        ("MeterValues", {"meterValue": "?"}, {}),
    ],
)  # fmt: skip
async def test_messages_of_a_transaction_are_stored_and_never_refused(
    rig: Rig, action: str, payload: Any, answer: Any
) -> None:  # T10, X01
    async with rig.charger() as charger:
        assert await ask(charger, [2, "1", action, payload]) == [3, "1", answer]
    (event,) = rig.core.events
    assert event.violations
    assert orjson.loads(event.raw) == payload
    (row,) = rig.frames.having(direction="in", action=action)
    assert row.result == "violation"
    assert rig.gateway.counts["violation"] == 1


@pytest.mark.parametrize("escape", ["\\u0000", "\0"])
async def test_a_card_with_nul_is_reported_as_it_came_and_the_log_holds_no_nul(rig: Rig, escape: str) -> None:  # D03
    async with rig.charger() as charger:
        answer = await ask(charger, '[2,"1","Authorize",{"idTag":"%s04A1"}]' % escape)  # noqa: UP031
    assert answer == [3, "1", {"idTagInfo": {"status": "Accepted"}}]
    assert rig.core.events[0].id_token == "\x0004A1"
    assert not [row for row in rig.frames.rows if "\0" in row.text]


async def test_bytes_that_are_no_utf8_do_not_cost_the_connection(rig: Rig) -> None:  # A13
    async with rig.charger() as charger:
        await charger.send(b'[2,"1","Authorize",{"idTag":"caf\xe9"}]', text=True)
        assert (await receive(charger))[0] == 3
        await charger.send(b'[2,"2","Heartbeat",{}]')  # as a binary frame
        assert (await receive(charger))[:2] == [3, "2"]
    assert rig.core.events[0].violations == ("json",)


async def test_a_message_in_fragments_is_one_message(rig: Rig) -> None:
    async with rig.charger() as charger:
        await charger.send(['[2,"1",', '"Heartbeat"', ",{}]"])
        assert (await receive(charger))[:2] == [3, "1"]


async def test_an_oversized_frame_closes_with_1009_and_leaves_a_row(rig: Rig) -> None:  # X13
    async with rig.charger("CP2") as bystander, rig.charger() as charger:
        await still_fine(charger)
        await charger.send("[" + " " * (1 << 20) + "]")
        with pytest.raises(exceptions.ConnectionClosed) as closed:
            await charger.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        await until(lambda: rig.frames.having(station_id="CP1", result="malformed"))
        await still_fine(bystander)
    assert [closed.code for closed in rig.presence.of(ConnectionClosed) if closed.station_id == "CP1"] == [1009]


async def test_a_frame_up_to_the_cap_is_taken() -> None:  # X13
    async with gateway_running(max_frame_bytes=2000) as rig, rig.charger() as charger:
        frame = '[2,"1","DataTransfer",{"vendorId":"v","data":"%s"}]'
        fitting = frame % ("x" * (2000 - len(frame) + 2))
        assert len(fitting) == 2000
        assert (await ask(charger, fitting))[0] == 3


async def test_an_event_that_is_not_stored_is_not_accepted(rig: Rig) -> None:
    async def fail(_event: Any) -> Any:
        raise OSError("disk full")

    rig.core.answer = fail
    async with rig.charger() as charger:
        assert (await ask(charger, [2, "1", "Heartbeat", {}]))[:3] == [4, "1", "InternalError"]
        assert (await ask(charger, [2, "2", "Authorize", {"idTag": "A"}]))[:3] == [4, "2", "InternalError"]


@pytest.mark.parametrize(
    ("action", "payload"),
    [("StartTransaction", START), ("StopTransaction", STOP), ("MeterValues", {"connectorId": 1, "meterValue": []})],
)
async def test_a_transaction_that_is_not_stored_gets_no_answer_but_1012(
    rig: Rig, action: str, payload: Any
) -> None:  # X01, X03
    async def fail(_event: Any) -> Any:
        raise OSError("disk full")

    rig.core.answer = fail
    async with rig.charger() as charger:
        await send(charger, [2, "1", action, payload])
        await send(charger, [2, "2", "Heartbeat", {}])  # what follows waits with it
        with pytest.raises(exceptions.ConnectionClosed) as closed:
            await receive(charger)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert len(rig.core.events) == 1


async def test_a_thousand_mixed_frames_are_a_thousand_rows_in(rig: Rig) -> None:  # A04
    mixed = [
        '[2,"1","Heartbeat",{}]',
        "not json",
        '[2,"1","Dance",{}]',
        '[3,"late",{}]',
        '[2,"1","StartTransaction",{}]',
    ]
    async with rig.charger() as charger:

        async def read() -> None:
            for _ in range(800):
                await charger.recv()

        reading = asyncio.create_task(read())
        for number in range(1000):
            await charger.send(mixed[number % 5])
        await asyncio.wait_for(reading, 10)
    assert len(rig.frames.having(direction="in")) == 1000
    assert len(rig.frames.having(direction="out")) == 800
    assert {row.result for row in rig.frames.having(direction="in")} == {"ok", "malformed", "unsolicited", "violation"}

"""`roambridge messages`: requests beside answers, with the time between, and no card's number whole (P12)."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from csms import message_store
from csms.bus import LoggedFrame
from csms.database import Database
from ocpi_bridge.masking import without_cards
from tests.ocpi_bridge.cli_answers import objects

Cli = Callable[..., Any]
NOW = datetime.now(UTC)


def frame(direction: str, type_: str, id_: str, action: str, text: str, **more: Any) -> LoggedFrame:
    return LoggedFrame(
        at=more.pop("at", NOW),
        station_id=more.pop("station_id", "CP1"),
        ocpp_version="1.6",
        direction=direction,
        message_type=type_,
        message_id=id_,
        action=action,
        text=text,
        **more,
    )


AUTHORIZE = frame("in", "call", "7", "Authorize", '[2,"7","Authorize",{"idTag":"04A1B2C3D4"}]')
ANSWER = frame(
    "out",
    "result",
    "7",
    "Authorize",
    '[3,"7",{"idTagInfo":{"status":"Accepted","parentIdTag":"04FFFFFFFF"}}]',
    latency_ms=4.2,
)
REFUSED = frame("in", "unreadable", "", "", "404 unknown station; \x1b[31mpath", result="refused", station_id="CP2")


def store(database: Database, *frames: LoggedFrame) -> None:
    with database.write_log() as connection:
        message_store.write(connection, frames)


def test_an_exchange_is_one_line_with_its_latency(cli: Cli, database: Database) -> None:
    store(database, AUTHORIZE, ANSWER, REFUSED)
    shown = cli("messages")
    assert shown.exit_code == 0
    [line] = [line for line in shown.stdout.splitlines() if "Authorize" in line]
    for part in ("CP1", "<-", "ok", "4.2", '{"idTag":"04******D4"}', '{"idTagInfo":{"status":"Accepted"'):
        assert part in line
    [line] = [line for line in shown.stdout.splitlines() if "CP2" in line]
    assert "refused" in line
    assert "\x1b[31m" not in shown.stdout


def test_no_cards_number_is_shown_whole(cli: Cli, database: Database) -> None:
    store(database, AUTHORIZE, ANSWER)
    for result in (cli("messages"), cli("messages", "--whole"), cli("messages", "--json")):
        assert "04A1B2C3D4" not in result.output
        assert "04FFFFFFFF" not in result.output
        assert "04******D4" in result.output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"idTag" : "0123456789"}', '{"idTag":"01******89"}'),
        ('{"idToken":{"idToken":"0123456789","type":"X"}}', '{"idToken":{"idToken":"01******89","type":"X"}}'),
        ('{"idTag":"01\\"2345678","x":1}', '{"idTag":"01******78","x":1}'),
        ('{"idTag":"0123456789 cut off', '{"idTag":"01**************ff'),
        (
            '{"data":"{\\"idToken\\":\\"0123456789\\",\\"x\\":1}"}',
            '{"data":"{\\"idToken\\":\\"01******89\\",\\"x\\":1}"}',
        ),
        ('{"\\u0069dTag":"0123456789"}', '{"idTag":"01******89"}'),
        ('{"idTag":"12345"}', '{"idTag":"*****"}'),
        ('{"connectorId":1}', '{"connectorId":1}'),
        ('{"idTag":12345678}', '{"idTag":"12****78"}'),
        ('{"IDTAG":["0123456789"]}', '{"IDTAG":["01******89"]}'),
        ('{"idTag":"0123456789","idTag":""}', '{"idTag":""}'),
        ('{"key":"FreeVendIdTag","value":"0123456789"}', '{"key":"FreeVendIdTag","value":"01******89"}'),
        ('{"key":"LightIntensity","value":"50"}', '{"key":"LightIntensity","value":"50"}'),
        ('{"data":"0123456789"}', '{"data":"01******89"}'),
        ('{"data":"<tag>04:A2:B3:C4</tag> ok"}', '{"data":"<tag>04*******C4</tag> ok"}'),
        ('{"data":"{\\"uid\\":\\"A1B2C3\\"}"}', '{"data":"{\\"uid\\":\\"A1**C3\\"}"}'),
        ('{"data":"{\\"a\\":\\"{\\\\\\"id\\\\u0054ag\\\\\\":\\\\\\"0123\\\\\\"}\\"}"}', None),
        ('[4,"7","InternalError","no card 0123456789",{}]', '[4,"7","InternalError","no card 01******89",{}]'),
        ('{"id\\u0054ag":"0123456789', '{"id\\u0054ag":"01******89'),
        ("{'idTag':'A1B2C3'", "{'idTag':'A1**C3'"),
        ('{"idTagInfo":{"status":"Accepted"}}', '{"idTagInfo":{"status":"Accepted"}}'),
    ],
)
def test_a_cards_number_is_found_in_whatever_was_sent(text: str, shown: str | None) -> None:
    assert without_cards(text) == shown if shown is not None else "0123" not in without_cards(text)


@pytest.mark.parametrize("piece", ["\\\\", '\\\\\\"', "a", "0", '"idTag', "idTag:", "idTag ", "04:", "[", '{"data":'])
@pytest.mark.parametrize("whole", [True, False])
def test_no_frame_takes_longer_to_mask_than_to_read(piece: str, whole: bool) -> None:
    filled = piece * (200_000 // len(piece))
    frame = f'[2,"1","DataTransfer",{{"data":"{filled}"}}]' if whole else filled
    began = time.process_time()
    without_cards(frame)
    assert time.process_time() - began < 2


def test_messages_are_found_by_station_action_and_age(cli: Cli, database: Database) -> None:
    store(database, AUTHORIZE, ANSWER, REFUSED)
    store(database, frame("out", "call", "8", "Reset", "[2]", at=NOW - timedelta(hours=3)))
    assert [row["station_id"] for row in objects(cli("messages", "--json", "--station", "CP2"))] == ["CP2"]
    assert [row["result"] for row in objects(cli("messages", "--json", "--action", "reset"))] == ["waiting"]
    assert [row["action"] for row in objects(cli("messages", "--json", "--since", "1h"))] == ["Authorize", "unreadable"]
    since = (NOW - timedelta(hours=4)).strftime("%Y-%m-%dT%H:%M")
    assert len(objects(cli("messages", "--json", "--since", since))) == 3
    assert len(objects(cli("messages", "--json", "--limit", "1"))) == 1
    assert cli("messages", "--station", "CP3").stdout == "Messages: none\n"


def test_a_follower_is_told_each_exchange_once_when_it_is_complete(
    cli: Cli, database: Database, database_url: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "ROAMBRIDGE_DATABASE_URL": database_url, "ROAMBRIDGE_DATA_DIR": str(tmp_path)}
    authorize, answer, refused = (
        msgspec.structs.replace(f, at=datetime.now(UTC)) for f in (AUTHORIZE, ANSWER, REFUSED)
    )
    store(database, authorize)
    follower = subprocess.Popen(
        [sys.executable, "-m", "ocpi_bridge", "messages", "--follow", "--json"],
        env={**environment, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert follower.stdout is not None
    try:
        store(database, refused)
        first = json.loads(follower.stdout.readline())
        store(database, answer)
        second = json.loads(follower.stdout.readline())
        store(database, frame("in", "call", "9", "Heartbeat", "[2]"), frame("out", "result", "9", "Heartbeat", "[3]"))
        third = json.loads(follower.stdout.readline())
        follower.send_signal(signal.SIGINT)
        rest, errors = follower.communicate(timeout=20)
    finally:
        follower.kill()
        follower.wait()
    assert [row["action"] for row in (first, second, third)] == ["unreadable", "Authorize", "Heartbeat"]
    assert (rest, errors, follower.returncode) == ("", "", 0)

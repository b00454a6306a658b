"""Whatever frames a charger sends: no crash, no lost connection, and the sessions beside them stay whole (A13).

`ROAMBRIDGE_TEST_FUZZ` sets how many stories are told (40 in an ordinary run, 2000 by `make fuzz`); what once broke
something is kept in tests/vectors/fuzz_frames.jsonl and told first, in every run.
"""

import asyncio
import json
import os
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect

from csms import stations
from csms.database import Database
from csms.models import Transaction
from csms.stations import BindingPolicy
from tests.paths.field import Field, field

STORIES = int(os.environ.get("ROAMBRIDGE_TEST_FUZZ", "40"))
KEPT = Path(__file__).parents[1] / "vectors" / "fuzz_frames.jsonl"
LIMIT_S = 30
CARD = "04A1B2C3D4"
WILD = "WILD"  # says anything; whatever it charges is its own affair
SOUND = "CP1"  # charges as it should, and says nonsense beside

FROM_CHARGERS = [
    "Authorize",
    "BootNotification",
    "DataTransfer",
    "DiagnosticsStatusNotification",
    "FirmwareStatusNotification",
    "Heartbeat",
    "LogStatusNotification",
    "MeterValues",
    "SecurityEventNotification",
    "SignCertificate",
    "SignedFirmwareStatusNotification",
    "StartTransaction",
    "StatusNotification",
    "StopTransaction",
]
OF_TRANSACTIONS = {"StartTransaction", "StopTransaction", "MeterValues"}


@pytest.fixture
def dialect() -> str:
    return "sqlite"


# ---- what a charger may send ----------------------------------------------------------------------------------------


def schema(action: str) -> dict[str, Any]:
    text = resources.files("ocpp").joinpath("v16", "schemas", f"{action}.json").read_text("utf-8-sig")
    return dict(json.loads(text))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def value(of: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Sometimes what the schema asks for, sometimes not."""
    kind = of.get("type")
    if "enum" in of:
        words = st.sampled_from(of["enum"])
        sound: st.SearchStrategy[Any] = words | words.map(str.upper) | words.map(str.lower)
    elif kind == "object" or "properties" in of:
        sound = payload(of)
    elif kind == "array":
        sound = st.lists(value(of["items"]), max_size=3)
    elif of.get("format") == "date-time":
        sound = st.datetimes(datetime(1970, 1, 1), datetime(2037, 1, 1)).map(lambda moment: f"{moment.isoformat()}Z")  # noqa: DTZ001
    elif kind in ("integer", "number"):
        sound = st.integers(-2, 10_000) | st.floats(-5, 1e6, allow_nan=False)
    elif kind == "boolean":
        sound = st.booleans()
    else:
        sound = st.text(max_size=of.get("maxLength", 30) + 5) | st.just(CARD + "x")
    return st.one_of(sound, sound, sound, JSON)


def payload(of: dict[str, Any]) -> st.SearchStrategy[Any]:
    fields = {name: value(inner) for name, inner in of.get("properties", {}).items()}
    some = st.fixed_dictionaries({}, optional=fields)
    return st.builds(lambda told, more: told | more, some, st.dictionaries(st.text(max_size=6), JSON, max_size=1))


CALLS = {action: payload(schema(action)) for action in FROM_CHARGERS}


@st.composite
def frames(draw: st.DrawFn, actions: list[str]) -> str:
    """The text of one frame."""
    action = draw(st.sampled_from(actions))
    inside = draw(CALLS[action] | JSON)
    frame: Any = [2, draw(st.text(max_size=40) | st.integers()), action, inside]
    shape = draw(st.integers(0, 11))
    if shape == 0:
        frame = draw(JSON)
    elif shape == 1:
        frame = frame[: draw(st.integers(0, 3))]
    elif shape == 2:
        frame = [draw(st.sampled_from([0, 1, 3, 4, 5, 6, "2", None])), *frame[1:]]
    elif shape == 3:
        frame = [*frame, draw(JSON)]
    elif shape == 4:
        frame = [2, frame[1], draw(st.sampled_from(["Reset", "GetLog", "authorize", "", "x" * 300])), inside]
    text = json.dumps(frame, ensure_ascii=draw(st.booleans()))
    if shape == 5:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(["", "\x00", '"', "}", "[", "\\ud800"])) + text[at + 1 :]
    return text.encode("utf-8", "replace").decode()


told = st.tuples(
    st.lists(frames(FROM_CHARGERS), max_size=12),
    st.lists(frames([action for action in FROM_CHARGERS if action not in OF_TRANSACTIONS]), max_size=6),
)


# ---- what must hold -------------------------------------------------------------------------------------------------


class Line:
    """A raw line: it can be asked something while anything else is said."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._asked = 0

    async def say(self, text: str) -> None:
        await self._socket.send(text)

    async def ask(self, action: str, payload: dict[str, Any]) -> Any:
        """The payload of the answer; answers to what was said before are passed over, and our own calls refused."""
        self._asked += 1
        message_id = f"sound {self._asked}"
        await self.say(orjson.dumps([2, message_id, action, payload]).decode())
        async with asyncio.timeout(LIMIT_S):
            while True:
                frame = orjson.loads(await self._socket.recv())
                if frame[0] == 2:
                    await self.say(orjson.dumps([4, frame[1], "NotSupported", "", {}]).decode())
                elif frame[1] == message_id:
                    assert frame[0] == 3, frame
                    return frame[2]


async def tell(world: Field, wild: list[str], beside: list[str]) -> None:
    url = f"ws://127.0.0.1:{world.box.port}/ocpp"
    options: dict[str, Any] = {"subprotocols": ["ocpp1.6"], "proxy": None, "compression": None}
    began = datetime.now(UTC) - timedelta(minutes=10)

    def moment(minutes: int) -> str:
        return f"{began + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"

    async with connect(f"{url}/{WILD}", **options) as wild_socket, connect(f"{url}/{SOUND}", **options) as socket:
        wild_line, line = Line(wild_socket), Line(socket)
        start = {"connectorId": 2, "idTag": CARD, "meterStart": 1000, "timestamp": moment(0)}
        number = (await line.ask("StartTransaction", start))["transactionId"]
        for index, frame in enumerate(wild):
            await wild_line.say(frame)
            if index < len(beside):
                await line.say(beside[index])
        reading = [{"timestamp": moment(4), "sampledValue": [{"value": "3000"}]}]
        await line.ask("MeterValues", {"connectorId": 2, "transactionId": number, "meterValue": reading})
        stop = {"transactionId": number, "meterStop": 5000, "timestamp": moment(8)}
        await line.ask("StopTransaction", stop)
        # both lines live, and everything said on them was looked at
        assert "currentTime" in await wild_line.ask("Heartbeat", {})
        assert "currentTime" in await line.ask("Heartbeat", {})
        assert (wild_socket.close_code, socket.close_code) == (None, None)
    whole = next(row for row in world.rows(Transaction) if row.number == number)
    assert (whole.state, whole.energy_mwh, whole.sample_count) == ("ended", 4_000_000, 1)
    for row in world.rows(Transaction):
        assert row.energy_mwh >= 0
        assert row.ended_at is None or row.ended_at >= row.started_at


def prepared(world: Field) -> None:
    with world.database.write() as connection:
        stations.provision(connection, WILD, None, datetime.now(UTC))
        for station_id in (WILD, SOUND):  # a Boot that names another box would be sent away, as it should
            stations.set_binding(connection, station_id, BindingPolicy.OFF)


async def tell_all(database: Database, stories: list[tuple[list[str], list[str]]]) -> None:
    async with field(database) as world:
        prepared(world)
        for wild, beside in stories:
            await tell(world, wild, beside)
        unread = [row for row in world.log.frames if row.direction == "in" and row.message_type == "unreadable"]
        assert all(row.result == "malformed" for row in unread)


async def test_what_once_broke_something_breaks_nothing_any_more(database: Database) -> None:  # A13
    kept = [json.loads(line) for line in KEPT.read_text().splitlines()]
    assert kept
    await tell_all(database, [(row["wild"], row["beside"]) for row in kept])


async def test_a_megabyte_and_deep_nesting_break_nothing(database: Database) -> None:  # A13, X13
    long = orjson.dumps([2, "1", "Authorize", {"idTag": "x" * 1_000_000}]).decode()
    deep = '[2,"1","DataTransfer",{"vendorId":"V","data":' + "[" * 5_000 + "]" * 5_000 + "}]"
    await tell_all(database, [([long, deep], [long, deep])])


def test_no_frame_costs_a_connection_or_a_session(database: Database) -> None:  # A13
    """One world for all stories: what an earlier one left behind is part of a later one."""
    with asyncio.Runner() as runner:
        worlds = AsyncExitStack()
        world = runner.run(worlds.enter_async_context(field(database)))
        prepared(world)

        @settings(
            max_examples=STORIES,
            deadline=None,
            derandomize="ROAMBRIDGE_TEST_FUZZ" not in os.environ,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(told)
        def every_story(frames: tuple[list[str], list[str]]) -> None:
            runner.run(tell(world, *frames))

        try:
            every_story()
        finally:
            runner.run(worlds.aclose())

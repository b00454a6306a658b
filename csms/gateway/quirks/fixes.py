"""What can be done about a vendor's deviation: named fixes on text that is no JSON, on events, on commands, on pings.

A fix says what the charger meant, never what it did: the message log keeps each frame as it came. An event or command that
needs no fixing is returned as it is, the same object.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from csms.commands import Command, ReserveEvse, SendLocalList, StartRemotely
from csms.events import (
    ConnectorStatus,
    ConnectorStatusReported,
    Event,
    IdTokenPresented,
    MeterSample,
    MeterSampled,
    SampledValue,
    TransactionEnded,
    TransactionStarted,
)

S = TypeVar("S", bound=msgspec.Struct)

TextFix: TypeAlias = Callable[[bytes], bytes]
EventFix: TypeAlias = Callable[[Event[Any]], Event[Any] | None]  # None: answered, and told to nobody
CommandFix: TypeAlias = Callable[[Command[Any]], Command[Any]]

TWINS_WITHIN = timedelta(seconds=2)


@dataclass(frozen=True, kw_only=True)
class Fix:
    """`text` is tried on what is no JSON. `event` is made anew for each connection: some remember. `needs` names the
    settings that an entry with this fix must give. A fix without any of the three changes nothing that is said.
    `assumes_version`: a station that offers none at all is taken to speak our oldest (T11)."""

    about: str
    text: TextFix | None = None
    event: Callable[[], EventFix] | None = None
    command: CommandFix | None = None
    pings: bool = True
    assumes_version: bool = False
    needs: frozenset[str] = frozenset()

    @property
    def acts(self) -> bool:
        """It changes what passes: such a fix is for a named vendor only."""
        return bool(self.text or self.event or self.command) or not self.pings or self.assumes_version


# ---- connector 0 and 1 (Q01) ----------------------------------------------------------------------------------------

TROUBLE = frozenset({ConnectorStatus.UNAVAILABLE, ConnectorStatus.FAULTED})


class StationTwin:
    """Drops what connector 0 says when it only repeats connector 1 within two seconds (T6).

    Connector 0 is the whole station: Unavailable and Faulted, and the end of either, always pass, and so does its first
    Available on a connection, because trouble may have ended in between. When connector 0 comes first both pass: the
    station's own status is no connector's. A station that tells of a second connector is left alone from then on.
    """

    def __init__(self) -> None:
        self._station: ConnectorStatus | None = None
        self._connector: ConnectorStatusReported | None = None
        self._alone = True

    def __call__(self, event: Event[Any]) -> Event[Any] | None:
        if type(event) is not ConnectorStatusReported:
            return event
        if event.evse == 0:
            if self._alone and self._repeats(event):
                return None
            self._station = event.status
        elif event.evse == 1:
            self._connector = event
        else:
            self._alone = False
        return event

    def _repeats(self, event: ConnectorStatusReported) -> bool:
        told = self._connector
        if told is None or event.status in TROUBLE or self._station in TROUBLE:
            return False
        if self._station is None and event.status is ConnectorStatus.AVAILABLE:
            return False
        alike = (told.status, told.error_code) == (event.status, event.error_code)
        return alike and _within(told.received_at, event.received_at)


def _within(first: datetime, second: datetime) -> bool:
    return abs(second - first) <= TWINS_WITHIN


# ---- card numbers (D02) ---------------------------------------------------------------------------------------------

_PAIRS = re.compile(r"(?:[0-9A-Fa-f]{2})+", re.ASCII)
_SEPARATED = re.compile(r"[0-9A-Fa-f]{2}(?:([ :.-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2})*", re.ASCII)


def reversed_bytes(id_token: str) -> str:
    """Its own inverse. What is no whole number of bytes in hex is left as it is."""
    if not _PAIRS.fullmatch(id_token):
        return id_token
    return "".join(reversed([id_token[at : at + 2] for at in range(0, len(id_token), 2)]))


def without_separators(id_token: str) -> str:
    """Only from between bytes in hex: a contract's number keeps its dashes."""
    found = _SEPARATED.fullmatch(id_token.strip())
    return id_token if found is None else found[0].replace(found[1], "")


def without_suffix(id_token: str) -> str:
    """`04A2DAA2_17619300` without what begins at the last underscore."""
    return id_token.rpartition("_")[0] or id_token


def _on_id_tokens(spelled: Callable[[str], str]) -> Callable[[], EventFix]:
    def fix(event: Event[Any]) -> Event[Any]:
        if isinstance(event, IdTokenPresented | TransactionStarted | TransactionEnded) and event.id_token:
            id_token = spelled(event.id_token)
            if id_token != event.id_token:
                return msgspec.structs.replace(event, id_token=id_token)
        return event

    return lambda: fix


def _reversed_for_the_station(command: Command[Any]) -> Command[Any]:
    """It compares with what its reader tells, and says a card it was sent as it was sent."""
    if isinstance(command, StartRemotely | ReserveEvse):
        return msgspec.structs.replace(command, id_token=reversed_bytes(command.id_token))
    if isinstance(command, SendLocalList):
        entries = tuple(
            msgspec.structs.replace(entry, id_token=reversed_bytes(entry.id_token)) for entry in command.entries
        )
        return msgspec.structs.replace(command, entries=entries)
    return command


# ---- energy (X16) ---------------------------------------------------------------------------------------------------


def wh_is_kwh(event: Event[Any]) -> Event[Any]:
    """Every energy that says Wh, or names no unit, is a thousand times that."""
    if isinstance(event, TransactionStarted):
        return (
            event if event.meter_start_mwh is None else _replaced(event, meter_start_mwh=event.meter_start_mwh * 1000)
        )
    if isinstance(event, TransactionEnded):
        stop_mwh = event.meter_stop_mwh
        return _replaced(
            event,
            samples=tuple(map(_in_kwh, event.samples)),
            meter_stop_mwh=None if stop_mwh is None else stop_mwh * 1000,
        )
    if isinstance(event, MeterSampled):
        return _replaced(event, samples=tuple(map(_in_kwh, event.samples)))
    return event


def _in_kwh(sample: MeterSample) -> MeterSample:
    return _replaced(sample, values=tuple(map(_value_in_kwh, sample.values)))


def _value_in_kwh(value: SampledValue) -> SampledValue:
    wh = value.measurand.startswith("Energy.Active.") and (value.unit or "Wh").casefold() == "wh"
    return _replaced(value, unit="kWh") if wh else value


def _replaced(struct: S, **changes: Any) -> S:
    same = all(getattr(struct, name) == value for name, value in changes.items())
    return struct if same else msgspec.structs.replace(struct, **changes)


# ---- text that is no JSON -------------------------------------------------------------------------------------------

_NO_VALUE = re.compile(rb'("[A-Za-z_]{1,50}"\s*:)(?=\s*[,}])')


def null_for_no_value(text: bytes) -> bytes:
    """`"name":,` becomes `"name":null,`."""
    return _NO_VALUE.sub(rb"\1null", text)


# ---- the table ------------------------------------------------------------------------------------------------------

HANDLED_BY_CORE: Final = "handled_by_core"

FIXES: Final[Mapping[str, Fix]] = {
    HANDLED_BY_CORE: Fix(about="Nothing is to be done for this vendor: every charger is read so."),
    "drop_station_twin": Fix(
        about="A status of connector 0 that repeats connector 1 within 2 s is answered, logged and told to nobody. "
        "For stations with one connector; Unavailable and Faulted always pass.",
        event=StationTwin,
    ),
    "reverse_id_token_bytes": Fix(
        about="The bytes of a card number are turned round, in what the station says and in what it is sent.",
        event=_on_id_tokens(reversed_bytes),
        command=_reversed_for_the_station,
    ),
    "strip_id_token_separators": Fix(
        about="04:A2:DA:A2 and 04-A2-DA-A2 are read as 04A2DAA2.", event=_on_id_tokens(without_separators)
    ),
    "strip_id_token_suffix": Fix(
        about="A card number is read without what follows its last underscore.", event=_on_id_tokens(without_suffix)
    ),
    "wh_is_kwh": Fix(about="Energy that says Wh, or names no unit, is read as kWh.", event=lambda: wh_is_kwh),
    "null_for_no_value": Fix(
        about="Where JSON lacks a value it is read as null. Tried only on a frame that cannot be read.",
        text=null_for_no_value,
    ),
    "never_ping": Fix(
        about="The station is not pinged and not dropped for its silence; TCP keepalive finds a dead line.", pings=False
    ),
    "assume_version": Fix(
        about="A station that names no subprotocol in its handshake is served all the same, in the oldest version we "
        "speak. It must have been let in once before, for until its Boot nobody knows whose it is.",
        assumes_version=True,
    ),
    "leave_settings_alone": Fix(
        about="The configuration keys named are not tuned: writing them changes nothing.",
        needs=frozenset({"leave_alone"}),
    ),
    "throttle_by_key": Fix(
        about="The current of the whole station is limited by the configuration key named.",
        needs=frozenset({"throttle_key"}),
    ),
}
SETTINGS: Final = frozenset().union(*(fix.needs for fix in FIXES.values()))

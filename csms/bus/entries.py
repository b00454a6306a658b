"""What crosses Redis, as bytes: entries of a station's stream towards the core, messages to a process's inbox."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, TypeAlias, cast

import msgspec

from csms.bus import ConnectionClosed, ConnectionOpened
from csms.commands import AnyCommand
from csms.events import AnyEvent, Event

# ---- towards the core -----------------------------------------------------------------------------------------------


class Reported(msgspec.Struct, frozen=True, array_like=True, tag="reported"):
    """`reply_to`: the process that waits for the reply."""

    event: AnyEvent
    reply_to: str

    @property
    def station_id(self) -> str:
        return self.event.station_id


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="opened"):
    """`again`: it was believed gone, and is not."""

    connection: ConnectionOpened
    again: bool = False

    @property
    def station_id(self) -> str:
        return self.connection.station_id


class Closed(msgspec.Struct, frozen=True, array_like=True, tag="closed"):
    connection: ConnectionClosed

    @property
    def station_id(self) -> str:
        return self.connection.station_id


class Duplicated(msgspec.Struct, frozen=True, array_like=True, tag="duplicated"):
    station_id: str
    older: str
    newer: str


class Seen(msgspec.Struct, frozen=True, array_like=True, tag="seen"):
    """The last sign of life of each of these stations, all of one stream."""

    stations: dict[str, datetime]


Entry: TypeAlias = Reported | Opened | Closed | Duplicated | Seen

# ---- to a process ---------------------------------------------------------------------------------------------------


class Replied(msgspec.Struct, frozen=True, array_like=True, tag="replied"):
    """`reply` is of the type that the event names."""

    event_id: str
    reply: msgspec.Raw


class NotHandled(msgspec.Struct, frozen=True, array_like=True, tag="not_handled"):
    event_id: str
    error: str


class Asked(msgspec.Struct, frozen=True, array_like=True, tag="asked"):
    request_id: str
    command: AnyCommand
    timeout_s: float
    reply_to: str
    asked_at_s: float = 0.0  # by Redis's clock, since it may wait long until Redis takes it


class Answered(msgspec.Struct, frozen=True, array_like=True, tag="answered"):
    """`answer` is of the type that the command names."""

    request_id: str
    answer: msgspec.Raw


class Displaced(msgspec.Struct, frozen=True, array_like=True, tag="displaced"):
    """The station's socket `older` was replaced by `newer`, at another gateway. Written by a script in Redis too."""

    station_id: str
    older: str
    newer: str


Message: TypeAlias = Replied | NotHandled | Asked | Answered | Displaced

# ---- bytes ----------------------------------------------------------------------------------------------------------

_encoder = msgspec.msgpack.Encoder()
_entry: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Entry)
_message: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Message)
_several = msgspec.msgpack.Decoder(list[msgspec.Raw])


def entry_to_bytes(entry: Entry) -> bytes:
    try:
        return _encoder.encode(entry)
    except UnicodeEncodeError:  # half a surrogate pair, which no database would hold either
        return _encoder.encode(_sound(msgspec.to_builtins(entry, builtin_types=(datetime,))))


def entry_from_bytes(data: bytes) -> Entry:
    """Raises msgspec.MsgspecError for what another release wrote and this one cannot read."""
    return cast(Entry, _entry.decode(data))


def messages_to_bytes(messages: list[Message]) -> bytes:
    return _encoder.encode(messages)


def messages_from_bytes(data: bytes) -> Iterator[Message | msgspec.MsgspecError]:
    """What another release wrote and this one cannot read is an error in its place: it takes no other message along."""
    for each in _several.decode(data):
        try:
            yield _message.decode(each)
        except msgspec.MsgspecError as error:
            yield error


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encoder.encode(value))


def reply_from(data: bytes | msgspec.Raw, event: Event[Any]) -> Any:
    return msgspec.msgpack.decode(data, type=event.reply_type())


def _sound(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_sound(key): _sound(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(item) for item in value]
    return value

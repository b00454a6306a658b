"""What the gateway asks of an OCPP version: frames into events, replies into frames, commands into frames, answers back."""

from datetime import datetime
from typing import Any, Protocol, TypeVar

from csms.commands import Answer, Command
from csms.events import Event
from csms.gateway.frames import Call, ErrorCode, Json

A = TypeVar("A", bound=Answer)


class CallRefused(Exception):
    """The charger's call cannot be read as an event: answer it with this CALLERROR."""

    def __init__(self, code: ErrorCode, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


class CommandUnfit(Exception):
    """The command cannot be said in this version: nothing was sent, and `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.detail)
        self.answer = answer


class Translator(Protocol):
    """Pure; one per version and process, shared by all its connections."""

    @property
    def version(self) -> str:
        """As events and the message log carry it: "1.6"."""
        ...

    def read(self, call: Call, station_id: str, received_at: datetime) -> Event[Any]:
        """Raises CallRefused; never for a message of a transaction, which becomes an event however little of it can be
        read (T10)."""
        ...

    def read_usual(
        self, data: bytes | bytearray, station_id: str, received_at: datetime
    ) -> tuple[str, str, Event[Any]] | None:
        """A whole frame of the most frequent kind in one step: its message id, its action and what `read` would make of it,
        without any violation. None for all others, which are read in parts."""
        ...

    def reply(self, action: str, reply: Any, /) -> Json:
        """The payload that answers `action`."""
        ...

    def request(self, command: Command[Any], /) -> tuple[str, Json]:
        """Action and payload. Raises CommandUnfit."""
        ...

    def answer(self, command: Command[A], payload: Json, /) -> A:
        """What the charger's CALLRESULT says of the command; FAILED when it says nothing readable."""
        ...

    def failure(self, command: Command[A], code: str, description: str, /) -> A:
        """What the charger's CALLERROR says of the command."""
        ...

"""What each thing of the bus is called in Redis, and which stream a station's entries are in."""

from typing import Final
from zlib import crc32

STREAMS: Final = 16  # a stream for each charger is a known mistake
GROUP: Final = "core"
WHERE: Final = "roambridge:where"  # station -> "PROCESS CONNECTION" of the gateway that holds its newest socket
SILENT: Final = "roambridge:silent"  # gateways that died and whose stations are still believed to be there
DEAD: Final = "roambridge:dead"
DEAD_KEYS: Final = "roambridge:dead:keys"  # what died -> its one letter
WAKE: Final = "roambridge:wake"


def stream_of(station_id: str, streams: int = STREAMS) -> int:
    """The same in every process and release: all that a station says stays in one stream, in its order."""
    return crc32(station_id.encode("utf-8", "surrogatepass")) % streams


def events(stream: int) -> str:
    return f"roambridge:events:{stream}"


def lease(stream: int) -> str:
    return f"roambridge:lease:{stream}"


def inbox(process_id: str) -> str:
    return f"roambridge:inbox:{process_id}"


def alive(role: str) -> str:
    """A sorted set: process id -> until when it counts as alive, in milliseconds of Redis's clock."""
    return f"roambridge:alive:{role}"

"""The OCPP versions that this gateway speaks, by the WebSocket subprotocol that asks for each (A10)."""

from collections.abc import Callable, Mapping
from typing import Final

from csms.gateway.ocpp16.translator import Ocpp16
from csms.gateway.translator import Translator

VERSIONS: Final[Mapping[str, Callable[[], Translator]]] = {
    "ocpp1.6": Ocpp16,
}

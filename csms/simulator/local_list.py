"""The cards that a simulated charger knows by heart: the local list with its version, as OCPP 1.6 section 5.15 changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from csms.simulator.wire import Handled, Payload, status

if TYPE_CHECKING:
    from csms.simulator.charge_point import ChargePoint

NOT_KEPT = -1


class LocalList:
    """`version` is 0 until a list was sent."""

    def __init__(self, *, longest: int) -> None:
        self.version = 0
        self.entries: dict[str, Payload] = {}  # idTag -> idTagInfo
        self._longest = longest

    def update(self, *, version: int, full: bool, entries: list[Payload]) -> str:
        """The status of SendLocalList.conf. An update that is not accepted changes nothing."""
        if not full and version <= self.version:
            return "VersionMismatch"
        changed = {} if full else dict(self.entries)
        for entry in entries:
            info = entry.get("idTagInfo")
            if info is not None:
                changed[entry["idTag"]] = info
            elif full:
                return "Failed"
            else:
                changed.pop(entry["idTag"], None)
        if version < 1 or len(changed) > self._longest:
            return "Failed"
        self.version, self.entries = version, changed
        return "Accepted"


def send_local_list(charge_point: ChargePoint, payload: Payload) -> Handled:
    if not charge_point.configuration.flag("LocalAuthListEnabled"):
        return status("NotSupported")
    entries = payload.get("localAuthorizationList", [])
    if len(entries) > charge_point.configuration.count("SendLocalListMaxLength"):
        return status("Failed")
    full = payload["updateType"] == "Full"
    return status(charge_point.local_list.update(version=payload["listVersion"], full=full, entries=entries))


def get_local_list_version(charge_point: ChargePoint, payload: Payload) -> Handled:
    kept = charge_point.configuration.flag("LocalAuthListEnabled")
    return Handled(result={"listVersion": charge_point.local_list.version if kept else NOT_KEPT})

"""Whether a station speaks OCPP's security extension is learnt from what it did, since it has no word for it."""

from typing import Final

from sqlalchemy import Connection, func, select

from csms.models import ActualSetting, RemoteRequest, SecurityEvent, StationCertificate

SETTING: Final = "securityprofile"  # compared lowercased; only the extension has it
ASKED_WITH: Final = (
    "extended_trigger_message",
    "update_firmware_signed",
    "get_log",
    "install_certificate",
    "delete_certificate",
    "get_installed_certificates",
    "send_certificate",
)


def spoken_by(connection: Connection, station_id: str) -> bool:
    """It has the extension's setting, told of its security, asked for a certificate, or took such a request before."""
    setting, asked = ActualSetting, RemoteRequest
    signs = (
        select(setting.key).where(setting.station_id == station_id, func.lower(setting.key) == SETTING),
        select(SecurityEvent.id).where(SecurityEvent.station_id == station_id),
        select(StationCertificate.id).where(StationCertificate.station_id == station_id),
        select(asked.id).where(asked.station_id == station_id, asked.kind.in_(ASKED_WITH), asked.outcome == "accepted"),
    )
    return any(connection.execute(sign.limit(1)).first() is not None for sign in signs)

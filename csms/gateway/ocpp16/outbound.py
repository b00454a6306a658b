"""What we may ask of an OCPP 1.6 charger: one row per command, with its message, its payload and what its answer means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from csms import commands
from csms.commands import Answer, Command
from csms.gateway.frames import Json
from csms.gateway.ocpp16 import cards, certificates, control, files, outcomes, profiles
from csms.gateway.ocpp16.outcomes import by_status


@dataclass(frozen=True)
class Outbound:
    """`payload` raises ValueError for what 1.6 cannot say."""

    action: str
    payload: Callable[[Any], dict[str, Json]]
    answer: Callable[[Json], Answer]


ACCEPTED_OR_NOT = by_status(outcomes.ACCEPTED_OR_NOT)

OUTBOUND: Final[Mapping[type[Command[Any]], Outbound]] = {
    commands.StartRemotely: Outbound("RemoteStartTransaction", control.start_remotely, ACCEPTED_OR_NOT),
    commands.StopRemotely: Outbound("RemoteStopTransaction", control.stop_remotely, ACCEPTED_OR_NOT),
    commands.ResetStation: Outbound("Reset", control.reset_station, ACCEPTED_OR_NOT),
    commands.UnlockConnector: Outbound("UnlockConnector", control.unlock_connector, by_status(outcomes.UNLOCKED)),
    commands.ChangeConfiguration: Outbound(
        "ChangeConfiguration", control.change_configuration, by_status(outcomes.CONFIGURED)
    ),
    commands.GetConfiguration: Outbound("GetConfiguration", control.get_configuration, control.configuration),
    commands.ChangeAvailability: Outbound(
        "ChangeAvailability", control.change_availability, by_status(outcomes.AVAILABILITY)
    ),
    commands.TriggerMessage: Outbound("TriggerMessage", control.trigger_message, by_status(outcomes.TRIGGERED)),
    commands.ClearCache: Outbound("ClearCache", control.clear_cache, ACCEPTED_OR_NOT),
    commands.SendVendorData: Outbound("DataTransfer", control.send_vendor_data, control.vendor_data),
    commands.ReserveEvse: Outbound("ReserveNow", cards.reserve_evse, by_status(outcomes.RESERVED)),
    commands.CancelReservation: Outbound("CancelReservation", cards.cancel_reservation, ACCEPTED_OR_NOT),
    commands.GetLocalListVersion: Outbound(
        "GetLocalListVersion", cards.get_local_list_version, cards.local_list_version
    ),
    commands.SendLocalList: Outbound("SendLocalList", cards.send_local_list, by_status(outcomes.LISTED)),
    commands.SetChargingProfile: Outbound(
        "SetChargingProfile", profiles.set_charging_profile, by_status(outcomes.PROFILE_SET)
    ),
    commands.ClearChargingProfile: Outbound(
        "ClearChargingProfile", profiles.clear_charging_profile, by_status(outcomes.PROFILE_CLEARED)
    ),
    commands.GetCompositeSchedule: Outbound(
        "GetCompositeSchedule", profiles.get_composite_schedule, profiles.composite_schedule
    ),
    commands.UpdateFirmware: Outbound("UpdateFirmware", files.update_firmware, files.firmware_promised),
    commands.GetDiagnostics: Outbound("GetDiagnostics", files.get_diagnostics, files.diagnostics_promised),
    # Improved security for OCPP 1.6-J
    commands.ExtendedTriggerMessage: Outbound(
        "ExtendedTriggerMessage", control.extended_trigger_message, by_status(outcomes.TRIGGERED)
    ),
    commands.UpdateFirmwareSigned: Outbound(
        "SignedUpdateFirmware", files.update_firmware_signed, by_status(outcomes.UPDATE_PROMISED)
    ),
    commands.GetLog: Outbound("GetLog", files.get_log, files.log_promised),
    commands.InstallCertificate: Outbound(
        "InstallCertificate", certificates.install_certificate, by_status(outcomes.CERTIFICATE_INSTALLED)
    ),
    commands.DeleteCertificate: Outbound(
        "DeleteCertificate", certificates.delete_certificate, by_status(outcomes.CERTIFICATE_DELETED)
    ),
    commands.GetInstalledCertificates: Outbound(
        "GetInstalledCertificateIds", certificates.get_installed_certificates, certificates.installed_certificates
    ),
    commands.SendCertificate: Outbound("CertificateSigned", certificates.send_certificate, ACCEPTED_OR_NOT),
}

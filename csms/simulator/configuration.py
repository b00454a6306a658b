"""The configuration keys of a simulated charger, read and written as OCPP 1.6 says."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from csms.simulator.wire import Payload

ENERGY = "Energy.Active.Import.Register"
POWER = "Power.Active.Import"
PROFILES = "Core,FirmwareManagement,LocalAuthListManagement,RemoteTrigger,Reservation,SmartCharging"
MEASURANDS = frozenset({ENERGY, POWER})


@dataclass(frozen=True, kw_only=True)
class Setting:
    """`secret` values are taken and never shown; `reboot`: a change works only after the next boot."""

    value: str
    readonly: bool = False
    secret: bool = False
    reboot: bool = False


def _is_count(value: str) -> bool:
    return value.isascii() and value.isdigit()


def _is_flag(value: str) -> bool:
    return value.casefold() in ("true", "false")


def _are_measurands(value: str) -> bool:
    return all(word.strip() in MEASURANDS for word in value.split(",") if word.strip())


# A key without a rule takes any text.
RULES = {
    "AuthorizationCacheEnabled": _is_flag,
    "AuthorizeRemoteTxRequests": _is_flag,
    "ConnectionTimeOut": _is_count,
    "HeartbeatInterval": _is_count,
    "LocalAuthListEnabled": _is_flag,
    "LocalAuthorizeOffline": _is_flag,
    "MeterValueSampleInterval": _is_count,
    "MeterValuesSampledData": _are_measurands,
    "StopTransactionOnInvalidId": _is_flag,
    "StopTxnSampledData": _are_measurands,
    "TransactionMessageAttempts": _is_count,
    "TransactionMessageRetryInterval": _is_count,
    "WebSocketPingInterval": _is_count,
}


class Configuration:
    def __init__(self, *, connectors: int, sample_interval_s: int, shows_cost: bool = False) -> None:
        self._settings = {
            "AuthorizationCacheEnabled": Setting(value="true"),
            "AuthorizationKey": Setting(value="", secret=True),
            "AuthorizeRemoteTxRequests": Setting(value="true"),
            "CertificateStoreMaxLength": Setting(value="10", readonly=True),
            "ChargeProfileMaxStackLevel": Setting(value="10", readonly=True),
            "ChargingScheduleAllowedChargingRateUnit": Setting(value="Current,Power", readonly=True),
            "ChargingScheduleMaxPeriods": Setting(value="100", readonly=True),
            "ConnectionTimeOut": Setting(value="60"),
            "CpoName": Setting(value="roambridge"),
            "CustomDisplayCostAndPrice": Setting(value=str(shows_cost).lower(), readonly=True),
            "GetConfigurationMaxKeys": Setting(value="50", readonly=True),
            "HeartbeatInterval": Setting(value="300"),
            "LocalAuthListEnabled": Setting(value="true"),
            "LocalAuthListMaxLength": Setting(value="500", readonly=True),
            "LocalAuthorizeOffline": Setting(value="true"),
            "MaxChargingProfilesInstalled": Setting(value="100", readonly=True),
            "MeterValueSampleInterval": Setting(value=str(sample_interval_s)),
            "MeterValuesSampledData": Setting(value=f"{ENERGY},{POWER}"),
            "NumberOfConnectors": Setting(value=str(connectors), readonly=True),
            "ReserveConnectorZeroSupported": Setting(value="true", readonly=True),
            "SecurityProfile": Setting(value="1", readonly=True),
            "SendLocalListMaxLength": Setting(value="100", readonly=True),
            "StopTransactionOnInvalidId": Setting(value="true"),
            "StopTxnSampledData": Setting(value=""),
            "SupportedFeatureProfiles": Setting(value=PROFILES, readonly=True),
            "TransactionMessageAttempts": Setting(value="3"),
            "TransactionMessageRetryInterval": Setting(value="10"),
            "WebSocketPingInterval": Setting(value="60", reboot=True),
        }

    def text(self, key: str) -> str:
        return self._settings[key].value

    def count(self, key: str) -> int:
        return int(self._settings[key].value)

    def flag(self, key: str) -> bool:
        return self._settings[key].value.casefold() == "true"

    def words(self, key: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in self._settings[key].value.split(",") if word.strip())

    def set(self, key: str, value: str) -> None:
        self._settings[key] = replace(self._settings[key], value=value)

    def change(self, key: str, value: str) -> str:
        """The status of ChangeConfiguration.conf (5.3)."""
        setting = self._settings.get(key)
        if setting is None:
            return "NotSupported"
        if setting.readonly or not RULES.get(key, bool)(value):
            return "Rejected"
        self.set(key, value)
        return "RebootRequired" if setting.reboot else "Accepted"

    def describe(self, keys: Iterable[str]) -> Payload:
        """GetConfiguration.conf (5.8): all keys when none is named."""
        asked = list(keys) or list(self._settings)
        known = [(key, self._settings[key]) for key in asked if key in self._settings]
        answer: Payload = {
            "configurationKey": [
                {"key": key, "readonly": setting.readonly} | ({} if setting.secret else {"value": setting.value})
                for key, setting in known
            ]
        }
        if unknown := [key for key in asked if key not in self._settings]:
            answer["unknownKey"] = unknown
        return answer

"""The tables: what is kept, and which rows the database itself refuses to hold twice."""

from csms.models.base import OWN, Base, Big, JsonValue, LogBase, Rowid, transaction_numbers
from csms.models.bills import Alert, ApiKey, ChargeRecord, MoneyRounding, RefundEvaluation, Review
from csms.models.cards import AuthorizationDecision, Tap, Token, TokenAlias
from csms.models.charging_profiles import InstalledProfile
from csms.models.configuration import ActualSetting, DesiredSetting, User
from csms.models.files import FirmwareCampaign, FirmwareImage, FirmwareUpdate, Upload
from csms.models.journal import DeadLetter, HandledEvent, JournalCursor, JournalEntry
from csms.models.local_lists import LocalList
from csms.models.message_log import Message
from csms.models.reservations import Reservation
from csms.models.security import Authority, SecurityEvent, StationCertificate, StationSecurity
from csms.models.sites import Connector, Evse, Location, StatusMeaning, Tariff
from csms.models.stations import Connection, Station, StationBoot
from csms.models.transactions import MeterSampleRow, RawEvent, RemoteRequest, Transaction

__all__ = [
    "OWN",
    "ActualSetting",
    "Alert",
    "ApiKey",
    "Authority",
    "AuthorizationDecision",
    "Base",
    "Big",
    "ChargeRecord",
    "Connection",
    "Connector",
    "DeadLetter",
    "DesiredSetting",
    "Evse",
    "FirmwareCampaign",
    "FirmwareImage",
    "FirmwareUpdate",
    "HandledEvent",
    "InstalledProfile",
    "JournalCursor",
    "JournalEntry",
    "JsonValue",
    "LocalList",
    "Location",
    "LogBase",
    "Message",
    "MeterSampleRow",
    "MoneyRounding",
    "RawEvent",
    "RefundEvaluation",
    "RemoteRequest",
    "Reservation",
    "Review",
    "Rowid",
    "SecurityEvent",
    "Station",
    "StationBoot",
    "StationCertificate",
    "StationSecurity",
    "StatusMeaning",
    "Tap",
    "Tariff",
    "Token",
    "TokenAlias",
    "Transaction",
    "Upload",
    "User",
    "transaction_numbers",
]

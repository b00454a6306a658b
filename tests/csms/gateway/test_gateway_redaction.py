import orjson
import pytest

from csms.gateway.redaction import redact

SECRET = "0123456789abcdef"
SIGNED = "https://files.example.com/up/cp1.log?signature=0123456789abcdef&expires=1"


@pytest.mark.parametrize(
    "frame",
    [
        [2, "1", "ChangeConfiguration", {"key": "AuthorizationKey", "value": SECRET}],
        [2, "1", "ChangeConfiguration", {"value": SECRET, "key": "authorizationKEY"}],
        [3, "1", {"configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": SECRET}]}],
        [3, "1", {"configurationKey": [{"key": "Wifi_Pass-word", "readonly": False, "value": SECRET}]}],
        [3, "1", {"configurationKey": [{"Key": "ClientSecret", "readonly": False, "Value": SECRET}]}],
        [2, "1", "ChangeConfiguration", {"key": "APNPassword", "value": SECRET}],
        [4, "1", "InternalError", "", {"request": {"key": "AuthorizationKey", "value": SECRET}}],
        [4, "1", "PropertyConstraintViolation", f"AuthorizationKey={SECRET} is too short", {}],
        [4, "1", "InternalError", "", {"AuthorizationKey": SECRET}],
        [3, "1", {"configurationKey": [{"WifiPassword": SECRET}]}],
        [2, "1", "DataTransfer", {"vendorId": "Acme", "data": f'{{"key": "AuthorizationKey", "value": "{SECRET}"}}'}],
        [2, "1", "SecurityEventNotification", {"type": "x", "techInfo": f"new password {SECRET}"}],
        [2, "1", "GetDiagnostics", {"location": SIGNED}],
        [2, "1", "UpdateFirmware", {"location": SIGNED, "retrieveDate": "2025-06-01T10:30:00Z"}],
        [2, "1", "GetLog", {"logType": "SecurityLog", "requestId": 1, "log": {"remoteLocation": SIGNED}}],
        [2, "1", "SignedUpdateFirmware", {"requestId": 1, "firmware": {"location": SIGNED, "signature": "c2ln"}}],
        [2, "1", "DataTransfer", {"vendorId": "Acme", "data": f'{{"url": "{SIGNED}"}}'}],
        [2, "1", "GetDiagnostics", {"location": f"ftp://operator:{SECRET}@files.example.com/up"}],
    ],
)
def test_secrets_never_reach_the_message_log(frame: list[object]) -> None:
    redacted = redact(orjson.dumps(frame).decode())
    assert SECRET not in redacted
    assert orjson.loads(redacted)[:2] == frame[:2]


def test_a_name_behind_escapes_is_found() -> None:
    text = '[2,"1","ChangeConfiguration",{"key":"\\u0041uthorizationKey","value":"' + SECRET + '"}]'
    assert SECRET not in redact(text)


def test_a_broken_frame_that_names_a_secret_is_withheld() -> None:
    assert redact('[2,"1","ChangeConfiguration",{"value":"' + SECRET + '","key":"AuthorizationKey"') == "[redacted]"
    assert SECRET not in redact('[2,"1","GetDiagnostics",{"location":"' + SIGNED)
    assert redact("[" * 1100 + '"AuthorizationKey"' + "]" * 1100) == "[redacted]"  # deeper than any reader goes


@pytest.mark.parametrize(
    "text",
    [
        '[2,"1","Heartbeat",{}]',
        '[2,"1","ChangeConfiguration",{"key":"HeartbeatInterval","value":"300"}]',
        "[2, not json",
        '[4,"1","NotSupported","AuthorizationKey is read only",{}]',
        '[3,"1",{"configurationKey":[],"unknownKey":["AuthorizationKey","WifiPassword"]}]',
        '[2,"1","Authorize",{"idTag":"\\u0000A\\u00e9"}]',
        '[2,"1","DataTransfer",{"data":"see https://example.com/manual"}]',
        '[2,"1","SignCertificate",{"csr":"-----BEGIN CERTIFICATE REQUEST-----\\nMIIB\\n-----END CERTIFICATE REQUEST-----"}]',
        '[2,"1","CertificateSigned",{"certificateChain":"-----BEGIN CERTIFICATE-----\\nMIIB"}]',
    ],
)
def test_other_frames_are_kept_to_the_letter(text: str) -> None:
    assert redact(text) == text

"""Settings: the documented names and defaults, and a clear line for whatever cannot be used."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from csms.availability import Availability
from csms.billing.pricing import Rounding
from csms.events import ConnectorStatus
from ocpi_bridge.settings import SETTINGS, Address, SettingsError, advice, load

SECRET = "0123456789abcdef"


def test_the_defaults() -> None:
    settings = load({}, env_file=None)
    assert settings.database_url == "sqlite:///roambridge.db"
    assert settings.redis_url is None
    assert (settings.ocpp_listen, settings.http_listen) == (Address("127.0.0.1", 9000), Address("127.0.0.1", 8000))
    assert settings.metrics_listen is None
    assert settings.data_dir == Path("data")
    assert (settings.message_log_days, settings.meter_sample_days) == (90, 400)
    assert settings.public_url == "http://127.0.0.1:8000"
    assert (settings.our_party, settings.operator_name) == (("BE", "BEC"), "roambridge")
    assert settings.unknown_stations == "pending"
    assert settings.allow_plain_ws == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert (settings.trusted_proxies, settings.outbound_allow) == ((), ())
    assert (settings.ocpp_tls_cert, settings.ocpp_tls_key, settings.ocpp_tls_client_ca) == (None, None, None)
    assert (settings.rotate_tokens_days, settings.evse_status) == (30, {})
    assert settings.money_decimals == {}
    assert settings.ocpi_requests_per_minute == 6000
    assert settings.event_backlog == 10_000
    assert settings.unknown == ()


def test_the_names_are_the_documented_ones() -> None:
    assert list(SETTINGS) == [
        *("DATABASE_URL", "REDIS_URL", "OCPP_LISTEN", "HTTP_LISTEN", "METRICS_LISTEN", "EVENT_BACKLOG", "DATA_DIR"),
        *(
            "MESSAGE_LOG_DAYS",
            "METER_SAMPLE_DAYS",
            "HISTORY_DAYS",
            "OCPI_REQUESTS_PER_MINUTE",
            "PUBLIC_URL",
            "COUNTRY_CODE",
            "PARTY_ID",
            "OPERATOR_NAME",
        ),
        *("SECRET_KEY", "UNKNOWN_STATIONS", "OCPP_TLS_CERT", "OCPP_TLS_KEY", "OCPP_TLS_CLIENT_CA"),
        *("OCPP_TLS_CLIENT_CERT", "OCPP_CLIENT_CERT_HEADER", "CERTIFICATE_ORGANIZATION"),
        *("ALLOW_PLAIN_WS", "TRUSTED_PROXIES", "OUTBOUND_ALLOW", "EVSE_STATUS", "ROTATE_TOKENS_DAYS", "MONEY_DECIMALS"),
    ]


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        'ROAMBRIDGE_PARTY_ID=abc\nROAMBRIDGE_OPERATOR_NAME="Two words"\nROAMBRIDGE_COUNTRY_CODE=nl\nOTHER=1\n'
    )
    settings = load({"ROAMBRIDGE_PARTY_ID": "XYZ", "ROAMBRIDGE_REDIS_URL": " "}, env_file=file)
    assert settings.our_party == ("NL", "XYZ")
    assert settings.operator_name == "Two words"
    assert settings.redis_url is None
    assert load({}, env_file=tmp_path / "none").our_party == ("BE", "BEC")


def test_values_are_read() -> None:
    settings = load(
        {
            "ROAMBRIDGE_DATABASE_URL": "postgres://user:pw@host/name",
            "ROAMBRIDGE_OCPP_LISTEN": "[::1]:0",
            "ROAMBRIDGE_METRICS_LISTEN": "0.0.0.0:9100",
            "ROAMBRIDGE_PUBLIC_URL": "https://ocpi.example.com/",
            "ROAMBRIDGE_ALLOW_PLAIN_WS": "10.0.0.0/8, fd00::/8",
            "ROAMBRIDGE_TRUSTED_PROXIES": "192.0.2.1",
            "ROAMBRIDGE_OUTBOUND_ALLOW": "127.0.0.0/8,partner.local",
            "ROAMBRIDGE_UNKNOWN_STATIONS": "reject",
            "ROAMBRIDGE_MONEY_DECIMALS": "EUR:4, JPY:0,HUF:2:even",
        },
        env_file=None,
    )
    assert settings.database_url == "postgresql://user:pw@host/name"
    assert settings.message_log is None
    assert settings.ocpp_listen == Address("::1", 0)
    assert settings.metrics_listen == Address("0.0.0.0", 9100)
    assert settings.public_url == "https://ocpi.example.com"
    assert settings.allow_plain_ws == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    assert settings.trusted_proxies == (ip_network("192.0.2.1/32"),)
    assert settings.outbound_allow == ("127.0.0.0/8", "partner.local")
    assert settings.unknown_stations == "reject"
    assert settings.money_decimals == {"EUR": Rounding(4), "JPY": Rounding(0), "HUF": Rounding(2, to_even=True)}


def test_the_message_log_of_sqlite_is_in_the_data_dir() -> None:
    settings = load(
        {"ROAMBRIDGE_DATABASE_URL": "sqlite:////var/lib/my.db", "ROAMBRIDGE_DATA_DIR": "/srv"}, env_file=None
    )
    assert settings.message_log == Path("/srv/my-messages.db")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "mysql://x", "must be sqlite:///FILE or postgresql://"),
        ("DATABASE_URL", "sqlite://", "SQLite needs a file"),
        ("DATABASE_URL", "sqlite:///:memory:", "SQLite needs a file"),
        ("REDIS_URL", "localhost:6379", "must be redis://"),
        ("OCPP_LISTEN", "9000", "is no HOST:PORT"),
        ("HTTP_LISTEN", "localhost:70000", "is no HOST:PORT"),
        ("MESSAGE_LOG_DAYS", "0", "is no number of days"),
        ("METER_SAMPLE_DAYS", "a year", "is no number of days"),
        ("PUBLIC_URL", "ocpi.example.com", "is no address such as https://"),
        ("COUNTRY_CODE", "BEL", "two letters"),
        ("PARTY_ID", "B", "three letters or digits"),
        ("OPERATOR_NAME", "x" * 101, "more than 100"),
        ("SECRET_KEY", "short", "fewer than 16"),
        ("UNKNOWN_STATIONS", "accept", "neither pending nor reject"),
        ("OCPP_TLS_CERT", "/nowhere.pem", "there is no file"),
        ("ALLOW_PLAIN_WS", "10.0.0.1/8", "has host bits set"),
        ("TRUSTED_PROXIES", "proxy.local", "is no network"),
        ("OUTBOUND_ALLOW", "http://partner.local", "neither a host nor a network"),
        ("MONEY_DECIMALS", "EUR=2", "nothing like EUR:4"),
        ("MONEY_DECIMALS", "EUR:5", "nothing like EUR:4"),
        ("MONEY_DECIMALS", "EUR:2,EUR:4", "named twice"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({f"ROAMBRIDGE_{name}": value}, env_file=None)
    [problem] = caught.value.problems
    assert problem.startswith(f"ROAMBRIDGE_{name}: ")
    assert said in problem


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"ROAMBRIDGE_PARTY_ID": "?", "ROAMBRIDGE_OCPP_LISTEN": "?"}, env_file=None)
    assert len(caught.value.problems) == 2


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    file = tmp_path / "a.pem"
    file.write_text("")
    for name in ("CERT", "CLIENT_CA"):
        with pytest.raises(SettingsError, match="OCPP_TLS_KEY"):
            load({f"ROAMBRIDGE_OCPP_TLS_{name}": str(file)}, env_file=None)


def test_a_secret_key_is_needed_and_never_shown() -> None:
    with pytest.raises(SettingsError, match="ROAMBRIDGE_SECRET_KEY is not set"):
        load({}, env_file=None).needed_secret_key()
    settings = load(
        {"ROAMBRIDGE_SECRET_KEY": SECRET, "ROAMBRIDGE_DATABASE_URL": "postgresql://u:hunter2@h/n"}, env_file=None
    )
    assert settings.needed_secret_key() == SECRET
    assert SECRET not in repr(settings)
    assert "hunter2" not in repr(settings)


def test_a_misspelt_name_is_told() -> None:
    settings = load({"ROAMBRIDGE_SECRETKEY": SECRET, "ROAMBRIDGE_TEST_POSTGRES": "x"}, env_file=None)
    assert settings.unknown == ("ROAMBRIDGE_SECRETKEY",)
    assert advice("ROAMBRIDGE_SECRETKEY") == "ROAMBRIDGE_SECRETKEY is no setting, ROAMBRIDGE_SECRET_KEY is"


def test_what_leaves_passwords_in_the_clear_is_warned_of(tmp_path: Path) -> None:  # B06
    def risks(**settings: str) -> list[str]:
        found = load({f"ROAMBRIDGE_{name}": value for name, value in settings.items()}, env_file=None).risks
        return [risk.partition(":")[0].removeprefix("ROAMBRIDGE_") for risk in found]

    file = tmp_path / "file.pem"
    file.touch()
    assert risks() == risks(OCPP_LISTEN="localhost:9000", ALLOW_PLAIN_WS="10.0.0.0/8,fd00::/8") == []
    assert risks(OCPP_LISTEN="0.0.0.0:9000") == ["OCPP_LISTEN"]
    assert risks(OCPP_LISTEN="0.0.0.0:9000", TRUSTED_PROXIES="10.0.0.1") == []
    assert risks(OCPP_LISTEN="0.0.0.0:9000", OCPP_TLS_CERT=str(file), OCPP_TLS_KEY=str(file)) == []
    assert risks(ALLOW_PLAIN_WS="0.0.0.0/0") == risks(ALLOW_PLAIN_WS="8.8.0.0/16") == ["ALLOW_PLAIN_WS"]


def test_settings_of_client_certificates_belong_together(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    file.touch()
    for settings, problem in (
        ({"OCPP_TLS_CLIENT_CERT": "always"}, "neither optional nor required"),
        ({"OCPP_TLS_CLIENT_CERT": "required"}, "needs ROAMBRIDGE_OCPP_TLS_CERT"),
        ({"OCPP_TLS_CLIENT_CA": str(file)}, "behind a proxy"),
        ({"OCPP_CLIENT_CERT_HEADER": "X-SSL-Client-Cert"}, "needs ROAMBRIDGE_TRUSTED_PROXIES"),
        ({"OCPP_CLIENT_CERT_HEADER": "X: y"}, "no name of a header"),
    ):
        with pytest.raises(SettingsError, match=problem):
            load({f"ROAMBRIDGE_{name}": value for name, value in settings.items()}, env_file=None)
    proxied = {
        "OCPP_CLIENT_CERT_HEADER": "X-SSL-Client-Cert",
        "TRUSTED_PROXIES": "10.0.0.1",
        "OCPP_TLS_CLIENT_CA": str(file),
    }
    settings = load({f"ROAMBRIDGE_{name}": value for name, value in proxied.items()}, env_file=None)
    assert settings.ocpp_client_cert_header == "X-SSL-Client-Cert"


def test_what_a_state_means_is_read_in_any_case_and_nonsense_is_refused() -> None:  # LO-61
    read = load({"ROAMBRIDGE_EVSE_STATUS": "Preparing:occupied, finishing:AVAILABLE"}, env_file=None).evse_status
    assert read == {ConnectorStatus.PREPARING: Availability.OCCUPIED, ConnectorStatus.FINISHING: Availability.AVAILABLE}
    for wrong in (
        "preparing",
        "preparing:CHARGING",
        "parked:occupied",
        "faulted:removed",
        "faulted:reserved,faulted:faulted",
    ):
        with pytest.raises(SettingsError, match="EVSE_STATUS"):
            load({"ROAMBRIDGE_EVSE_STATUS": wrong}, env_file=None)

"""Every setting has one name, one default and one reading, and nothing else in the house looks at the environment."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values

from csms.availability import Availability
from csms.billing.pricing import Rounding
from csms.events import ConnectorStatus

PREFIX = "ROAMBRIDGE_"
OTHERS = ("ROAMBRIDGE_TEST_",)  # read by the tests only
SECRET_KEY_AT_LEAST = 16

Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """Something set cannot be used; `problems` holds a line for each, beginning with the variable's name."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Address(NamedTuple):
    """Where to listen; port 0 takes any that is free."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`metrics_listen` None: on `http_listen`. `event_backlog`: events that may wait for workers, in each stream of the bus,
    before nobody more is let in. `unknown`: variables that look like ours and are not."""

    database_url: str = field(repr=False)
    redis_url: str | None = field(repr=False)
    ocpp_listen: Address
    http_listen: Address
    metrics_listen: Address | None
    event_backlog: int
    data_dir: Path
    message_log_days: int
    meter_sample_days: int
    history_days: int
    ocpi_requests_per_minute: int
    public_url: str
    country_code: str
    party_id: str
    operator_name: str
    secret_key: str | None = field(repr=False)
    unknown_stations: Literal["pending", "reject"]
    ocpp_tls_cert: Path | None
    ocpp_tls_key: Path | None
    ocpp_tls_client_ca: Path | None
    ocpp_tls_client_cert: Literal["optional", "required"]
    ocpp_client_cert_header: str | None
    certificate_organization: str | None
    allow_plain_ws: tuple[Network, ...]
    trusted_proxies: tuple[Network, ...]
    outbound_allow: tuple[str, ...]
    rotate_tokens_days: int
    evse_status: Mapping[ConnectorStatus, Availability]
    money_decimals: Mapping[str, Rounding]
    unknown: tuple[str, ...] = ()

    @property
    def our_party(self) -> tuple[str, str]:
        return self.country_code, self.party_id

    @property
    def not_acted_on(self) -> tuple[str, ...]:
        """Variables that are set and mean nothing where everything runs in one process."""
        return () if self.redis_url is None else (f"{PREFIX}REDIS_URL",)

    @property
    def wss_offered(self) -> bool:
        """By us, or by a proxy that we believe."""
        return self.ocpp_tls_cert is not None or bool(self.trusted_proxies)

    @property
    def risks(self) -> tuple[str, ...]:
        """What may be meant so, and lets passwords and bills cross a network in the clear (B06)."""
        public = [str(network) for network in self.allow_plain_ws if network.is_global or network.prefixlen == 0]
        found = []
        if public:
            found.append(
                f"{PREFIX}ALLOW_PLAIN_WS: {', '.join(public)} is public: there ws:// is read by anybody on the way"
            )
        if not self.wss_offered and not _is_loopback(self.ocpp_listen.host):
            found.append(
                f"{PREFIX}OCPP_LISTEN: stations from elsewhere can connect by ws:// only; set {PREFIX}OCPP_TLS_CERT and "
                f"_KEY, or name in {PREFIX}TRUSTED_PROXIES the proxy that ends TLS"
            )
        return tuple(found)

    @property
    def message_log(self) -> Path | None:
        """The file of the message log; None on PostgreSQL, which holds it itself."""
        if not self.database_url.startswith("sqlite"):
            return None
        return self.data_dir / f"{Path(unquote(urlsplit(self.database_url).path)).stem}-messages.db"

    def needed_secret_key(self) -> str:
        """The key that partners' tokens are sealed with. Raises SettingsError when there is none."""
        if self.secret_key is None:
            raise SettingsError(
                [
                    f"{PREFIX}SECRET_KEY is not set: it encrypts the partners' tokens. "
                    'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
                ]
            )
        return self.secret_key

    def needed_for_roles(self) -> str:
        """The Redis between processes of different roles, which share a PostgreSQL. Raises SettingsError."""
        problems = []
        if self.database_url.startswith("sqlite"):
            problems.append(
                f"{PREFIX}DATABASE_URL: several processes share a postgresql:// database; on SQLite run: roambridge serve"
            )
        if self.redis_url is None:
            problems.append(
                f"{PREFIX}REDIS_URL is not set: gateway, worker and api talk through Redis, redis://HOST:PORT/0"
            )
        if problems or self.redis_url is None:
            raise SettingsError(problems)
        return self.redis_url


def load(environ: Mapping[str, str] | None = None, *, env_file: Path | None = Path(".env")) -> Settings:
    """The settings of `environ` (the process's own when None), and of `env_file` where that says nothing.

    An empty value counts as unset. Raises SettingsError, with every problem named.
    """
    told: dict[str, str | None] = {}
    if env_file is not None and env_file.is_file():
        told |= dotenv_values(env_file, interpolate=False)
    told |= os.environ if environ is None else environ
    values: dict[str, Any] = {}
    problems = []
    for name, (default, read) in SETTINGS.items():
        text = (told.get(PREFIX + name) or "").strip() or default
        try:
            values[name.lower()] = None if text is None else read(text)
        except ValueError as error:
            problems.append(f"{PREFIX}{name}: {error}")
    if not problems:
        problems = list(_disagreements(values))
    if problems:
        raise SettingsError(problems)
    ours = {PREFIX + name for name in SETTINGS}
    strangers = sorted(name for name in told if name.startswith(PREFIX) and name not in ours)
    return Settings(**values, unknown=tuple(name for name in strangers if not name.startswith(OTHERS)))


def advice(name: str) -> str:
    """A line about a variable that is none of ours."""
    near = get_close_matches(name.removeprefix(PREFIX), SETTINGS, n=1)
    return f"{name} is no setting" + (f", {PREFIX}{near[0]} is" if near else "")


# ---- readers: text in, value out, ValueError with a sentence ---------------------------------------------------------


def _database_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme == "sqlite":
        if not rest.startswith("/") or not rest.strip("/") or ":memory:" in rest:
            raise ValueError("SQLite needs a file, such as sqlite:///roambridge.db")
    elif scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise ValueError("must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
    elif not rest:
        raise ValueError("names no server, as postgresql://USER:PASSWORD@HOST/NAME does")
    return text if scheme != "postgres" else f"postgresql://{rest}"


def _redis_url(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must be redis://HOST:PORT/0")
    return text


def _address(text: str) -> Address:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\s]+):([0-9]{1,5})", text)
    if match is None or int(match[2]) > 65535:
        raise ValueError(f"{text!r} is no HOST:PORT such as 127.0.0.1:9000 or [::1]:9000")
    return Address(match[1].strip("[]"), int(match[2]))


def _days(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) == 0:
        raise ValueError(f"{text!r} is no number of days")
    return int(text)


def _requests(text: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", text):
        raise ValueError(f"{text!r} is no number of requests; 0 limits nobody")
    return int(text)


def _events(text: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", text) or int(text) == 0:
        raise ValueError(f"{text!r} is no number of events")
    return int(text)


def _days_or_never(text: str) -> int:
    return 0 if text == "0" else _days(text)


def _public_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{text!r} is no address such as https://ocpi.example.com")
    return text.rstrip("/")


def _matching(pattern: str, said: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text.upper()):
            raise ValueError(f"{text!r} is not {said}")
        return text.upper()

    return read


def _name(text: str) -> str:
    if len(text) > 100:
        raise ValueError("has more than 100 characters")
    return text


def _secret(text: str) -> str:
    if len(text) < SECRET_KEY_AT_LEAST:
        raise ValueError(f"has fewer than {SECRET_KEY_AT_LEAST} characters")
    return text


def _policy(text: str) -> str:
    if text not in ("pending", "reject"):
        raise ValueError(f"{text!r} is neither pending nor reject")
    return text


def _demand(text: str) -> str:
    if text not in ("optional", "required"):
        raise ValueError(f"{text!r} is neither optional nor required")
    return text


def _header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", text):
        raise ValueError(f"{text!r} is no name of a header such as X-SSL-Client-Cert")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"there is no file {text}")
    return path


def _roundings(text: str) -> Mapping[str, Rounding]:
    """As EUR:4,JPY:0,HUF:2:even. OCPI tells amounts with four decimals at most."""
    found: dict[str, Rounding] = {}
    for part in _list(text):
        match = re.fullmatch("([A-Z]{3}):([0-4])(:even)?", part)
        if match is None:
            raise ValueError(f"{part!r} is nothing like EUR:4, JPY:0 or HUF:2:even")
        if match[1] in found:
            raise ValueError(f"{match[1]} is named twice")
        found[match[1]] = Rounding(int(match[2]), match[3] is not None)
    return found


def _meanings(text: str) -> Mapping[ConnectorStatus, Availability]:
    """As preparing:occupied,finishing:available. Offline and removed are never a charger's word."""
    found: dict[ConnectorStatus, Availability] = {}
    for part in _list(text):
        state, _, meaning = part.lower().partition(":")
        may = [one.value for one in Availability if one not in (Availability.UNKNOWN, Availability.REMOVED)]
        if state not in set(ConnectorStatus) or meaning not in may:
            raise ValueError(f"{part!r} is nothing like preparing:occupied ({', '.join(may)})")
        if ConnectorStatus(state) in found:
            raise ValueError(f"{state} is named twice")
        found[ConnectorStatus(state)] = Availability(meaning)
    return found


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[,\s]+", text) if part)


def _networks(text: str) -> tuple[Network, ...]:
    networks = []
    for part in _list(text):
        try:
            networks.append(ip_network(part))
        except ValueError as error:
            raise ValueError(f"{part!r} is no network such as 10.0.0.0/8 ({error})") from None
    return tuple(networks)


def _hosts(text: str) -> tuple[str, ...]:
    """Hosts and networks as outbound.OutboundPolicy takes them."""
    for part in _list(text):
        try:
            ip_network(part.strip("[]"), strict=False)
        except ValueError:
            if not re.fullmatch(r"[\w.-]+", part):
                raise ValueError(f"{part!r} is neither a host nor a network such as 127.0.0.0/8") from None
    return _list(text)


def _disagreements(values: Mapping[str, Any]) -> Sequence[str]:
    cert, key, ca = (values[f"ocpp_tls_{name}"] for name in ("cert", "key", "client_ca"))
    if (cert is None) is not (key is None):
        return [f"{PREFIX}OCPP_TLS_CERT and {PREFIX}OCPP_TLS_KEY belong together: set both or neither"]
    header = values["ocpp_client_cert_header"]
    if ca is not None and cert is None and header is None:
        return [
            f"{PREFIX}OCPP_TLS_CLIENT_CA needs {PREFIX}OCPP_TLS_CERT and {PREFIX}OCPP_TLS_KEY, or behind a proxy "
            f"{PREFIX}OCPP_CLIENT_CERT_HEADER"
        ]
    if header is not None and not values["trusted_proxies"]:
        return [f"{PREFIX}OCPP_CLIENT_CERT_HEADER needs {PREFIX}TRUSTED_PROXIES: whom it is believed from"]
    if values["ocpp_tls_client_cert"] == "required" and cert is None:
        return [f"{PREFIX}OCPP_TLS_CLIENT_CERT needs {PREFIX}OCPP_TLS_CERT and {PREFIX}OCPP_TLS_KEY"]
    return []


SETTINGS: dict[str, tuple[str | None, Callable[[str], Any]]] = {  # name: default, reader
    "DATABASE_URL": ("sqlite:///roambridge.db", _database_url),
    "REDIS_URL": (None, _redis_url),
    "OCPP_LISTEN": ("127.0.0.1:9000", _address),
    "HTTP_LISTEN": ("127.0.0.1:8000", _address),
    "METRICS_LISTEN": (None, _address),
    "EVENT_BACKLOG": ("10000", _events),
    "DATA_DIR": ("./data", Path),
    "MESSAGE_LOG_DAYS": ("90", _days),
    "METER_SAMPLE_DAYS": ("400", _days),
    "HISTORY_DAYS": ("400", _days),
    "OCPI_REQUESTS_PER_MINUTE": ("6000", _requests),
    "PUBLIC_URL": ("http://127.0.0.1:8000", _public_url),
    "COUNTRY_CODE": ("BE", _matching("[A-Z]{2}", "a country of two letters such as BE")),
    "PARTY_ID": ("BEC", _matching("[A-Z0-9]{3}", "three letters or digits such as BEC")),
    "OPERATOR_NAME": ("roambridge", _name),
    "SECRET_KEY": (None, _secret),
    "UNKNOWN_STATIONS": ("pending", _policy),
    "OCPP_TLS_CERT": (None, _file),
    "OCPP_TLS_KEY": (None, _file),
    "OCPP_TLS_CLIENT_CA": (None, _file),
    "OCPP_TLS_CLIENT_CERT": ("optional", _demand),
    "OCPP_CLIENT_CERT_HEADER": (None, _header),
    "CERTIFICATE_ORGANIZATION": (None, _name),
    "ALLOW_PLAIN_WS": ("127.0.0.0/8,::1/128", _networks),
    "TRUSTED_PROXIES": ("", _networks),
    "OUTBOUND_ALLOW": ("", _hosts),
    "EVSE_STATUS": ("", _meanings),
    "ROTATE_TOKENS_DAYS": ("30", _days_or_never),
    "MONEY_DECIMALS": ("", _roundings),
}

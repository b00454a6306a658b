"""`roambridge certificate`: our own authority, what it signed for stations, and which roots stations believe."""

from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import select

from csms import certificates
from csms.authority import Algorithm
from csms.commands import CertificateHash, CertificateUse
from csms.models import StationCertificate
from csms.sealing import SealBroken, Vault
from ocpi_bridge.commands.asking import asked, requester, tell
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show
from ocpi_bridge.settings import load

app = typer.Typer(help="Certificates: our authority, what it signed, roots.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The identity in the station's URL.")]
Use = Annotated[
    CertificateUse,
    typer.Option("--use", help="Whom it vouches for: us (central_system_root) or who makes its firmware."),
]
Timeout = Annotated[float, typer.Option(min=1, max=600, help="Seconds to wait for the station.")]
US = CertificateUse.CENTRAL_SYSTEM_ROOT


@app.command("authority")
def authority_(
    algorithm: Annotated[Algorithm, typer.Option(help="Of its key; stations with RSA keys get RSA certificates.")],
) -> None:
    """Print the certificate of our own authority (PEM), which is made when there is none yet."""
    settings = load()
    vault = Vault(settings.needed_secret_key())
    organization = settings.certificate_organization or settings.operator_name
    with opened(settings) as database, database.write() as connection:
        try:
            pem = certificates.root(connection, algorithm, vault=vault, organization=organization, now=now())
        except SealBroken as error:
            raise Failed(error) from None
    say(pem.strip())


@app.command("list")
def list_(
    station_id: Annotated[str | None, typer.Option("--station", metavar="ID", help="Only of this station.")] = None,
    as_json: AsJson = False,
) -> None:
    """What stations asked for, newest first, and what became of it."""
    row = StationCertificate
    query = select(row.__table__).order_by(row.id.desc())
    if station_id is not None:
        query = query.where(row.station_id == station_id)
    with opened() as database, database.read() as connection:
        found = connection.execute(query).all()
    names = ("station_id", "state", "requested_at", "expires_at", "fingerprint", "serial_number", "detail")
    rows = [{name: getattr(row, name) for name in names} for row in found]
    columns = {
        "station_id": "station",
        "state": "state",
        "requested_at": "requested",
        "expires_at": "expires",
        "fingerprint": "fingerprint",
        "detail": "detail",
    }
    show("Certificates", columns, rows, as_json=as_json)


@app.command()
def revoke(
    fingerprint: Annotated[str, typer.Argument(metavar="FINGERPRINT", help="SHA-256 in hex, 16 digits or more of it.")],
) -> None:
    """This certificate proves nothing from now on: a station that is here by it is sent away."""
    try:
        with opened() as database, database.write() as connection:
            station_id = certificates.revoke(connection, fingerprint, now())
    except certificates.UnknownCertificate:
        raise Failed(f"no certificate that was signed here has the fingerprint {fingerprint}") from None
    say(f"the certificate of {station_id} is revoked")


@app.command()
def request(station_id: Id, timeout: Timeout = 30) -> None:
    """Have a station make a new key and ask for a certificate; it is signed and sent when it asks."""
    tell(asked(lambda c: certificates.request_certificate(c, station_id, **_by()), timeout))


@app.command()
def install(
    station_id: Id,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="One certificate in PEM.")],
    use: Use = US,
    timeout: Timeout = 30,
) -> None:
    """Have a station believe a root: ours before we change it, or that of its manufacturer."""
    pem = file.read_text(encoding="utf-8", errors="replace")
    try:
        tell(asked(lambda c: certificates.install(c, station_id, use, pem, **_by()), timeout))
    except (certificates.NoCertificate, UnicodeError) as error:
        raise Failed(f"{file}: {error}") from None


@app.command()
def installed(station_id: Id, use: Use = US, as_json: AsJson = False, timeout: Timeout = 30) -> None:
    """Ask a station which roots it believes."""
    columns = {"serial_number": "serial number", "algorithm": "hashed by", "issuer_name_hash": "issuer's name"}
    rows = _installed(station_id, use, timeout)
    show(f"{station_id}: {use.value}", columns, rows, as_json=as_json)


@app.command()
def delete(
    station_id: Id,
    serial_number: Annotated[str, typer.Argument(metavar="SERIAL", help="As `installed` shows it.")],
    use: Use = US,
    timeout: Timeout = 30,
) -> None:
    """Have a station believe a root no more."""
    wanted = _plain(serial_number)
    found = [row for row in _installed(station_id, use, timeout) if _plain(row["serial_number"]) == wanted]
    if len(found) != 1:
        raise Failed(
            f"{station_id} has {'several' if found else 'no'} such certificates with the serial number {wanted}"
        )
    which = CertificateHash(**found[0])
    tell(asked(lambda c: certificates.delete(c, station_id, which, **_by()), timeout))


def _installed(station_id: str, use: CertificateUse, timeout_s: float) -> list[dict[str, Any]]:
    row = asked(lambda c: certificates.installed(c, station_id, use, **_by()), timeout_s)
    if row.state == "rejected" and row.outcome == "not_found":
        return []
    if row.state != "accepted":
        tell(row)
    return list((row.answer or {}).get("certificates") or [])


def _plain(serial_number: str) -> str:
    return serial_number.replace(":", "").lower().lstrip("0")


def _by() -> dict[str, Any]:
    return {"requested_by": requester(), "now": now()}

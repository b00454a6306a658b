"""What is known of vendors' deviations: shipped with us, and the operator's own."""

from csms.gateway.quirks import catalogue
from csms.gateway.quirks.catalogue import BadQuirks, Quirks
from ocpi_bridge.settings import Settings, SettingsError


def known_quirks(settings: Settings) -> Quirks:
    """What is shipped, and the operator's own in DATA_DIR/quirks. Raises SettingsError, which names every mistake."""
    folder = settings.data_dir / "quirks"
    try:
        return catalogue.load(folder)
    except BadQuirks as bad:
        raise SettingsError([f"ROAMBRIDGE_DATA_DIR: {folder}: {problem}" for problem in bad.problems]) from None

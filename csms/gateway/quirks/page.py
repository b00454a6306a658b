"""docs/vendor-quirks.md: what the entries say, for whoever meets a station that behaves oddly (Q07)."""

import sys
from collections.abc import Iterable

from csms.gateway.quirks.catalogue import Quirk, Quirks, load
from csms.gateway.quirks.fixes import FIXES

HEAD = """# Vendor quirks

What stations do that the standard does not say, and what is done about it. Each entry is data in
`csms/gateway/quirks/*.yaml`, and its repro is run as a test. This page is made from them by `make quirks`.

A quirk is a station's when vendor, model and firmware of its last accepted Boot match; `roambridge station quirks ID` shows
which are. What a station sent is in the message log as it came; what was fixed is counted in the metric
`roambridge_gateway_events` as `quirk:` and the entry's name.

Entries of your own go into `quirks/*.yaml` in `ROAMBRIDGE_DATA_DIR`, in the same form, and are read when the service starts.
It refuses to start with an entry that lacks its vendor, firmware, reason, source, repro or fix.
"""
FIXED = """
## Of a vendor

These change what is understood, so each is for a vendor that was seen to need it. An unnamed vendor stands for one that its
report redacts: copy the entry for yours.
"""
READ_SO = """
## Of anybody

The core reads every station so, whoever made it. Nothing is switched on; the entries are here because the repro is.
"""


def render(quirks: Quirks) -> str:
    named = [quirk for quirk in quirks if not quirk.of_anybody]
    others = [quirk for quirk in quirks if quirk.of_anybody]
    fixes = [f"- `{name}`: {fix.about}\n" for name, fix in FIXES.items()]
    return "".join([HEAD, FIXED, *_told(named), READ_SO, *_told(others), "\n## Fixes\n\n", *fixes])


def _told(quirks: Iterable[Quirk]) -> Iterable[str]:
    for quirk in quirks:
        whose = [("vendor", quirk.vendor), ("model", quirk.model), ("firmware", quirk.firmware)]
        yield f"\n### {quirk.id}\n\n{quirk.why}\n\n"
        yield f"- {', '.join(f'{name} `{pattern}`' for name, pattern in whose if pattern != '*') or 'every station'}\n"
        yield f"- fix: `{quirk.fix}`{f' in `{quirk.handled_by}`' if quirk.handled_by else ''}"
        yield "".join(f", {name} `{value}`" for name, value in quirk.settings.items()) + "\n"
        yield f"- source: {quirk.source}\n\n```\n"
        yield "".join(f"{line}\n" for line in quirk.repro) + "```\n"


if __name__ == "__main__":
    sys.stdout.write(render(load()))

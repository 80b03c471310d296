#!/usr/bin/env python3
"""Makes zones.txt, the table from number prefix to time zones, from public data.

    pip install phonenumbers==9.0.43 tzdata==2026.6 regex
    python3 services/core/domain/data/zones.py > services/core/domain/data/zones.txt

Google's libphonenumber (here by its Python port) has a map from prefix to zones. It cannot be used as it is:

- it is meant for numbers of a place. A mobile or toll-free number of a country with several zones says nothing about
  where its owner is, so libphonenumber gives such numbers all zones of the country. Here that is in the table: where
  a prefix has numbers of a place and others, it is followed deeper, and at the last depth gets the zones of both;
- some of its zones are of another country with another clock (Morocco as the Canaries, Algeria as Paris, Nicaragua
  as Chicago). Each zone is compared with those of the prefix's country, hour by hour over three years, by the tz
  database: one that keeps the same time is written under the country's own name; one that none of them keeps is
  replaced by all zones of the country, or by MENDED below;
- of several zones of one country that keep the same time the first is enough.

The output depends on the pinned versions only.
"""
import datetime
import importlib.metadata
import importlib.resources
import random
import sys
import zoneinfo

import phonenumbers
import regex
import tzdata
from phonenumbers import PhoneNumberType as T
from phonenumbers.phonemetadata import PhoneMetadata
from phonenumbers.tzdata import TIMEZONE_DATA

# Digits after the country code at which a prefix with numbers of a place and others is followed no deeper.
DEPTH = 6
# What the comparison cannot find: other clocks of the same country (Kaliningrad; in Chile Magallanes, Aysén and Easter
# Island), and places that zone.tab does not list (Ascension, Kosovo, Abkhazia).
MENDED = {
    "247": ["Atlantic/St_Helena"],
    "383": ["Europe/Belgrade"],
    "7840": ["Europe/Moscow"],
    "7401": ["Europe/Kaliningrad"],
    "5661": ["America/Punta_Arenas"],
    "5667": ["America/Coyhaique"],
    "56": ["America/Santiago", "America/Punta_Arenas", "America/Coyhaique", "Pacific/Easter"],
    "56322": ["America/Santiago", "Pacific/Easter"],
}
# Yukon has its own zone since 2020.
YUKON = {"America/Vancouver": "America/Whitehorse", "America/Fort_Nelson": "America/Whitehorse"}
YEARS = (2026, 2027, 2028)
zoneinfo.reset_tzpath([])  # the pinned package, not what this machine has

START = datetime.datetime(YEARS[0], 1, 1, tzinfo=datetime.timezone.utc)
HOURS = (datetime.datetime(YEARS[-1] + 1, 1, 1, tzinfo=datetime.timezone.utc) - START).days * 24
INSTANTS = [START + datetime.timedelta(hours=hour) for hour in range(0, HOURS, 3)]
CLOCKS = {}


def clock(zone):
    """The zone's offset over the years, as something to compare."""
    if zone not in CLOCKS:
        info = zoneinfo.ZoneInfo(zone)
        CLOCKS[zone] = hash(tuple(int(at.astimezone(info).utcoffset().total_seconds()) for at in INSTANTS))
    return CLOCKS[zone]


def country_zones():
    """Zones by country, the most populous first, as the tz database lists them."""
    found = {}
    with importlib.resources.files("tzdata.zoneinfo").joinpath("zone.tab").open() as lines:
        for line in lines:
            if not line.startswith("#"):
                country, _, zone = line.rstrip("\n").split("\t")[:3]
                found.setdefault(country, []).append(zone)
    return found


COUNTRY_ZONES = country_zones()
USED = {zone for zones in TIMEZONE_DATA.values() for zone in zones}
with importlib.resources.files("tzdata.zoneinfo").joinpath("tzdata.zi").open() as links:
    USED |= {line.split()[1] for line in links if line.startswith("L ") and line.split()[2] in USED}


def own_zones(code):
    """All zones of the countries of a calling code, the main country first."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)]
    zones = []
    for region in [*regions[:1], *sorted(regions[1:], key=lambda region: -len(COUNTRY_ZONES.get(region, [])))]:
        zones += [zone for zone in COUNTRY_ZONES.get(region, []) if zone not in zones]
    # Names libphonenumber uses are those people know: São Paulo rather than Belém.
    return sorted(zones, key=lambda zone: zone not in USED)


def once(zones, own=()):
    """One zone for each clock: of several the one that comes first among the code's own."""
    kept = {}
    for zone in sorted(zones, key=lambda zone: own.index(zone) if zone in own else len(own)):
        kept.setdefault(clock(zone), zone)
    return sorted(kept.values())


def mend(code, prefix, zones):
    """The zones of a prefix under names of the code's own countries."""
    if prefix in MENDED:
        return once(MENDED[prefix], MENDED[prefix])
    own = own_zones(code)
    mended = []
    for zone in zones:
        if prefix.startswith("1867"):
            zone = YUKON.get(zone, zone)
        same = [other for other in own if clock(other) == clock(zone)]
        if not same:
            print(f"{prefix}: {zone} is no clock of {code}: {own}", file=sys.stderr)
            return once(own, own)
        mended.append(zone if zone in own else same[0])
    return once(mended, own)


class Kind:
    """One kind of number of one country: whether it is of a place, and if not, which zones it can be in."""

    def __init__(self, code, region, kind, whole):
        data = PhoneMetadata.metadata_for_region(region, None)
        desc = getattr(data, kind)
        pattern = desc and desc.national_number_pattern
        self.pattern = pattern and regex.compile(pattern)
        # Where mobile and fixed numbers are told apart by nobody, libphonenumber takes both for numbers of a place.
        self.fixed = regex.compile(data.fixed_line.national_number_pattern or "")
        self.lengths = (desc and desc.possible_length) or data.general_desc.possible_length
        self.mobile = kind == "mobile"
        self.place = kind == "fixed_line" or (
            self.mobile and phonenumbers.is_number_type_geographical(T.MOBILE, int(code)))
        own = COUNTRY_ZONES.get(region, [])
        clocks = {clock(zone) for zone in whole}
        self.zones = [zone for zone in own if clock(zone) in clocks] or own or whole

    def has(self, national):
        """Whether a national number of this kind begins so."""
        if not self.pattern or not self.pattern.fullmatch(national, partial=True):
            return False
        if not self.mobile or self.place:
            return True
        dice = random.Random(national)  # the same for the same prefix
        for length in self.lengths:
            for _ in range(300 if length >= len(national) else 0):
                number = national + "".join(dice.choice("0123456789") for _ in range(length - len(national)))
                if self.pattern.fullmatch(number) and not self.fixed.fullmatch(number):
                    return True
        return False


def table(code):
    """The prefixes of one calling code."""
    own = own_zones(code)
    given = {p: mend(code, p, z) for p, z in TIMEZONE_DATA.items() if p.startswith(code)}
    given.update({p: once(z, z) for p, z in MENDED.items() if p.startswith(code)})
    whole = given.get(code) or once(own, own)
    if not whole:
        return {}
    kinds = [Kind(code, region, kind, whole)
             for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)]
             for kind in ("fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number",
                          "voip", "pager", "uan", "voicemail")]

    def look(prefix):
        return next((given[prefix[:n]] for n in range(len(prefix), 0, -1) if prefix[:n] in given), whole)

    found = {}

    def walk(prefix, above):
        national = prefix[len(code):]
        deeper = any(other.startswith(prefix) and other != prefix for other in given)
        here = [kind for kind in kinds if kind.has(national)]
        of_place = any(kind.place for kind in here) or not here
        elsewhere = [zone for kind in here if not kind.place for zone in kind.zones]
        zones = look(prefix)
        if elsewhere:
            zones = once(set(elsewhere) | (set(zones) if of_place else set()), own)
        mixed = of_place and elsewhere and zones != look(prefix)
        if zones != above:
            found[prefix] = zones
        if deeper or (mixed and len(national) < DEPTH):
            for digit in "0123456789":
                walk(prefix + digit, zones)

    walk(code, None)
    return found


def main():
    groups = {}
    for code in sorted({str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE}):
        for prefix, zones in table(code).items():
            groups.setdefault(",".join(zones), []).append(prefix)
    tz = importlib.metadata.version("tzdata")
    print(f"""\
# Time zones of numbers by prefix, the longest prefix decides. Each line: zones, then the prefixes that have them.
# Made by zones.py beside it; do not edit.
# Sources: libphonenumber {phonenumbers.__version__} (package phonenumbers of that version), Copyright The Libphonenumber
#   Authors, Apache License 2.0, changed as zones.py says; tz database {tzdata.IANA_VERSION} (package tzdata {tz}), public domain.
# Clocks compared over {YEARS[0]}-{YEARS[-1]}. Date: 2026-12-01.""")
    for zones in sorted(groups):
        print(zones, *sorted(groups[zones]))


main()

"""Units of measure: which UCUM codes measure the same thing, and by what factor (https://ucum.org/ucum).

A code such as ``mg/dL`` is read by the grammar of UCUM and brought to base units exactly, in fractions. Units that
UCUM calls arbitrary (``[iU]``) measure only themselves. The mole, the equivalent and the osmole are base units here,
and so is the degree of a logarithmic scale: UCUM would let mmol/L and meq/L be compared, medicine would not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from fhirhub.search.keeping import keeping

SYSTEM = "http://unitsofmeasure.org"

Dimension = tuple[tuple[str, int], ...]
"""Base units with their exponents, sorted: ``(("g", 1), ("m", -3))``."""

_LONGEST = 60
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Unit:
    """``value`` of this unit is ``(value + offset) * factor`` of the base units."""

    factor: Fraction
    dimension: Dimension
    offset: Fraction = Fraction(0)

    @property
    def name(self) -> str:
        """The dimension as text, the same for all units that can be compared: ``g1.m-3``."""
        return ".".join(f"{base}{exponent}" for base, exponent in self.dimension) or "1"


_PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "d": -1, "c": -2, "m": -3,
    "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
_BINARY = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}

# Unit -> (how many, of which other unit). Units in _METRIC take prefixes.
_BASE = ("m", "s", "g", "K", "C", "cd", "rad", "mol", "eq", "osm", "B", "Np", "bit")
_DEFINED: dict[str, tuple[str, str]] = {
    # numbers
    "10*": ("10", "1"), "10^": ("10", "1"), "[pi]": ("3.1415926535897932384626433832795028841971693993751", "1"),
    "%": ("0.01", "1"), "[ppth]": ("1e-3", "1"), "[ppm]": ("1e-6", "1"), "[ppb]": ("1e-9", "1"),
    "[pptr]": ("1e-12", "1"),
    # SI
    "sr": ("1", "rad2"), "Hz": ("1", "s-1"), "N": ("1", "kg.m/s2"), "Pa": ("1", "N/m2"), "J": ("1", "N.m"),
    "W": ("1", "J/s"), "A": ("1", "C/s"), "V": ("1", "J/C"), "F": ("1", "C/V"), "Ohm": ("1", "V/A"), "S": ("1", "Ohm-1"),
    "Wb": ("1", "V.s"), "T": ("1", "Wb/m2"), "H": ("1", "Wb/A"), "lm": ("1", "cd.sr"), "lx": ("1", "lm/m2"),
    "Bq": ("1", "s-1"), "Gy": ("1", "J/kg"), "Sv": ("1", "J/kg"), "kat": ("1", "mol/s"), "U": ("1", "umol/min"),
    "L": ("1", "dm3"), "l": ("1", "dm3"), "ar": ("100", "m2"), "t": ("1000", "kg"), "bar": ("1e5", "Pa"),
    "u": ("1.6605390666e-24", "g"), "eV": ("160.217733e-21", "J"), "By": ("8", "bit"),
    # time
    "min": ("60", "s"), "h": ("60", "min"), "d": ("24", "h"), "wk": ("7", "d"), "a_j": ("365.25", "d"), "a": ("1", "a_j"),
    "a_t": ("365.24219", "d"), "a_g": ("365.2425", "d"), "mo_j": ("30.4375", "d"), "mo": ("1", "mo_j"),
    "mo_s": ("29.53059", "d"), "mo_g": ("30.436875", "d"),
    # angles
    "deg": ("2", "[pi].rad/360"), "'": ("1", "deg/60"), "''": ("1", "'/60"), "gon": ("0.9", "deg"),
    "circ": ("2", "[pi].rad"),
    # CGS and others of the laboratory
    "dyn": ("1", "g.cm/s2"), "erg": ("1", "dyn.cm"), "P": ("1", "dyn.s/cm2"), "St": ("1", "cm2/s"), "G": ("1e-4", "T"),
    "Ci": ("37e9", "Bq"), "R": ("2.58e-4", "C/kg"), "RAD": ("100", "erg/g"), "REM": ("1", "RAD"), "g%": ("1", "g/dl"),
    "Ao": ("0.1", "nm"), "b": ("100", "fm2"), "cal": ("4.184", "J"), "cal_th": ("4.184", "J"), "cal_IT": ("4.1868", "J"),
    "[Cal]": ("1", "kcal"), "m[Hg]": ("133.3220", "kPa"), "m[H2O]": ("9.80665", "kPa"), "atm": ("101325", "Pa"),
    "[g]": ("9.80665", "m/s2"), "gf": ("1", "g.[g]"), "att": ("1", "kgf/cm2"), "[in_i'Hg]": ("1", "m[Hg].[in_i]/m"),
    "[in_i'H2O]": ("1", "m[H2O].[in_i]/m"), "[Ch]": ("1", "mm/3"), "[drp]": ("1", "ml/20"), "[HP]": ("550", "[ft_i].[lbf_av]/s"),
    "[Btu]": ("1.05505585262", "kJ"), "[MET]": ("3.5", "mL/min/kg"),
    # lengths, areas, volumes in inches and feet
    "[in_i]": ("2.54", "cm"), "[ft_i]": ("12", "[in_i]"), "[yd_i]": ("3", "[ft_i]"), "[mi_i]": ("5280", "[ft_i]"),
    "[fth_i]": ("6", "[ft_i]"), "[nmi_i]": ("1852", "m"), "[kn_i]": ("1", "[nmi_i]/h"), "[sin_i]": ("1", "[in_i]2"),
    "[sft_i]": ("1", "[ft_i]2"), "[syd_i]": ("1", "[yd_i]2"), "[cin_i]": ("1", "[in_i]3"), "[cft_i]": ("1", "[ft_i]3"),
    "[cyd_i]": ("1", "[yd_i]3"), "[mil_i]": ("1e-3", "[in_i]"),
    # weights
    "[gr]": ("64.79891", "mg"), "[lb_av]": ("7000", "[gr]"), "[oz_av]": ("1", "[lb_av]/16"), "[dr_av]": ("1", "[oz_av]/16"),
    "[scwt_av]": ("100", "[lb_av]"), "[lcwt_av]": ("112", "[lb_av]"), "[ston_av]": ("2000", "[lb_av]"),
    "[lton_av]": ("2240", "[lb_av]"), "[stone_av]": ("14", "[lb_av]"), "[lbf_av]": ("1", "[lb_av].[g]"),
    "[psi]": ("1", "[lbf_av]/[sin_i]"), "[pwt_tr]": ("24", "[gr]"), "[oz_tr]": ("20", "[pwt_tr]"),
    "[lb_tr]": ("12", "[oz_tr]"), "[sc_ap]": ("20", "[gr]"), "[dr_ap]": ("3", "[sc_ap]"), "[oz_ap]": ("8", "[dr_ap]"),
    "[lb_ap]": ("12", "[oz_ap]"), "[oz_m]": ("28", "g"), "[car_m]": ("0.2", "g"),
    # volumes of fluids
    "[gal_us]": ("231", "[in_i]3"), "[qt_us]": ("1", "[gal_us]/4"), "[pt_us]": ("1", "[qt_us]/2"),
    "[gil_us]": ("1", "[pt_us]/4"), "[foz_us]": ("1", "[gil_us]/4"), "[fdr_us]": ("1", "[foz_us]/8"),
    "[min_us]": ("1", "[fdr_us]/60"), "[cup_us]": ("16", "[tbs_us]"), "[tbs_us]": ("1", "[foz_us]/2"),
    "[tsp_us]": ("1", "[tbs_us]/3"), "[foz_m]": ("30", "ml"), "[cup_m]": ("240", "ml"), "[tsp_m]": ("5", "ml"),
    "[tbs_m]": ("15", "ml"), "[gal_br]": ("4.54609", "l"), "[qt_br]": ("1", "[gal_br]/4"), "[pt_br]": ("1", "[qt_br]/2"),
    "[gil_br]": ("1", "[pt_br]/4"), "[foz_br]": ("1", "[gil_br]/5"), "[IU]": ("1", "[iU]"),
}  # fmt: skip
_METRIC = frozenset(
    "m s g K C cd rad mol eq osm B Np bit sr Hz N Pa J W A V F Ohm S Wb T H lm lx Bq Gy Sv kat U L l ar t bar u eV By "
    "dyn erg P St G Ci R RAD REM g% cal cal_th cal_IT m[Hg] m[H2O] [g] gf Cel".split()
)
_SCALES: dict[str, Fraction] = {
    "Cel": Fraction("273.15"),
    "[degF]": Fraction("459.67"),
    "[degR]": Fraction(0),
}
"""Temperatures: unit -> what is added to reach the absolute zero."""

_SYMBOL = re.compile(r"(10[*^]|(?:[^0-9+\-./(){}\[\]\s]|\[[^\]\s]*\])+)([+-]?\d+)?")
_NUMBER = re.compile(r"\d+")
_ARBITRARY = re.compile(r"([YZEPTGMkhdcmunpfazy]|da)?(\[[^\]]+\])")


class _NotUcum(ValueError):
    """The code is no UCUM unit that is known here."""


@dataclass(slots=True)
class _Reader:
    """Recursive descent over one code."""

    text: str
    at: int = 0
    depth: int = 0

    def whole(self) -> Unit:
        unit = self.term()
        if self.at != len(self.text):
            raise _NotUcum(self.text)
        return unit

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def term(self) -> Unit:
        """Components joined by ``.`` and ``/``, from left to right; one that starts with ``/`` divides 1."""
        unit = Unit(Fraction(1), ())
        if self.peek() != "/":
            unit = self.component()
        while self.peek() in (".", "/") and self.peek():
            sign = self.peek()
            self.at += 1
            unit = _times(unit, self.component(), 1 if sign == "." else -1)
        return unit

    def component(self) -> Unit:
        if self.peek() == "(":
            self.depth += 1
            if self.depth > _DEEPEST:
                raise _NotUcum(self.text)
            self.at += 1
            unit = self.term()
            if self.peek() != ")":
                raise _NotUcum(self.text)
            self.at += 1
            self.depth -= 1
        elif self.peek() == "{":
            unit = Unit(Fraction(1), ())
        else:
            unit = self.simple()
        if self.peek() == "{":
            end = self.text.find("}", self.at)
            if end < 0:
                raise _NotUcum(self.text)
            self.at = end + 1
        return unit

    def simple(self) -> Unit:
        found = _SYMBOL.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
            unit = _symbol(found[1])
            return unit if found[2] is None else _power(unit, int(found[2]))
        digits = _NUMBER.match(self.text, self.at)
        if digits is None:
            raise _NotUcum(self.text)
        self.at = digits.end()
        return Unit(Fraction(digits[0]), ())


def _times(one: Unit, other: Unit, sign: int) -> Unit:
    exponents = dict(one.dimension)
    for base, exponent in other.dimension:
        exponents[base] = exponents.get(base, 0) + sign * exponent
    dimension = tuple(sorted((base, exponent) for base, exponent in exponents.items() if exponent))
    return Unit(one.factor * other.factor**sign, dimension)


def _power(unit: Unit, exponent: int) -> Unit:
    if abs(exponent) > 30:
        raise _NotUcum(str(exponent))
    return Unit(unit.factor**exponent, tuple((base, n * exponent) for base, n in unit.dimension if exponent))


@lru_cache(maxsize=1024)
def _symbol(symbol: str) -> Unit:
    """One unit with its prefix, without exponent."""
    known = _atom(symbol)
    if known is not None:
        return known
    for prefix, exponent in _PREFIXES.items():
        rest = symbol.removeprefix(prefix)
        if rest != symbol and rest in _METRIC:
            atom = _atom(rest)
            if atom is not None:
                return Unit(atom.factor * Fraction(10) ** exponent, atom.dimension)
    for prefix, factor in _BINARY.items():
        if symbol.removeprefix(prefix) in ("bit", "By") and symbol.startswith(prefix):
            atom = _symbol(symbol.removeprefix(prefix))
            return Unit(atom.factor * factor, atom.dimension)
    arbitrary = _ARBITRARY.fullmatch(symbol)
    if arbitrary is None:
        raise _NotUcum(symbol)
    factor_of = Fraction(10) ** _PREFIXES[arbitrary[1]] if arbitrary[1] else Fraction(1)
    name = "[iU]" if arbitrary[2] == "[IU]" else arbitrary[2]
    return Unit(factor_of, ((name, 1),))


def _atom(symbol: str) -> Unit | None:
    if symbol in _BASE:
        return Unit(Fraction(1), ((symbol, 1),))
    if symbol in _SCALES:
        # Within a longer unit (W/(m2.Cel)) a degree is a step, whatever its zero.
        return Unit(Fraction(5, 9) if symbol != "Cel" else Fraction(1), (("K", 1),))
    defined = _DEFINED.get(symbol)
    if defined is None:
        return None
    unit = _Reader(defined[1]).whole()
    return Unit(Fraction(defined[0]) * unit.factor, unit.dimension)


@keeping(4096)
def read(code: str) -> Unit | None:
    """The unit of a UCUM code; None when it is none, or one that is not known here."""
    if not code or len(code) > _LONGEST:
        return None
    scale = _SCALES.get(code)
    try:
        unit = _Reader(code).whole()
    except (_NotUcum, ZeroDivisionError):
        return None
    return unit if scale is None else Unit(unit.factor, unit.dimension, scale)


def converted(value: Fraction, unit: Unit, other: Unit) -> Fraction:
    """``value`` of ``unit`` as a value of ``other``, which measures the same."""
    return (value + unit.offset) * unit.factor / other.factor - other.offset

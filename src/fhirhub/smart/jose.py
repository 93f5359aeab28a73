"""Signed tokens (JWS, RFC 7515; JWT, RFC 7519) and keys (JWK, RFC 7517): the one door to python-jose.

Everything before the arithmetic of the signature is decided here, by the caller's expectations and never by the token:
which algorithm, which key. python-jose gets a key that was checked and bytes to verify, and nothing else: its own
parsing of tokens, its choice of keys and its symmetric algorithms are not used. Tokens are hostile until verified: a
length limit first, strict base64url, JSON without duplicate names, headers of a closed list.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose import jwk
from jose.exceptions import JOSEError

MAX_TOKEN = 16 * 1024
MAX_HEADER = 4 * 1024
MAX_KEYS = 50
MIN_RSA, MAX_RSA = 2048, 8192
"""Bits; a larger modulus makes each verification expensive."""
ALGORITHMS: Mapping[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
}
"""Algorithm -> key type and curve. Nothing symmetric: a public key can never be taken for a secret."""
_HEADERS = frozenset({"alg", "kid", "typ", "jku", "cty", "x5t", "x5t#S256", "x5c", "x5u"})
"""Header parameters that may be there. ``crit`` and ``b64`` change what is signed, ``jwk`` brings a key, ``zip``,
``enc`` belong to encrypted tokens: a token with one of them, or with one that nobody knows, is refused."""
_SIGNATURE = {"ES256": 64, "ES384": 96}
_CURVES: Mapping[str, tuple[type[ec.EllipticCurve], int]] = {
    "P-256": (ec.SECP256R1, 32),
    "P-384": (ec.SECP384R1, 48),
}
_PART = re.compile(rb"[A-Za-z0-9_-]+")
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_ORDERS = {
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "ES384": int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16
    ),
}
"""Order of the curve's group (FIPS 186-5); r and s of a signature are between 0 and it."""


class Invalid(ValueError):
    """A token or key that is not good; the message says why, and quotes nothing of it that could be secret."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says before anybody has looked at its signature: to find the key with, to trust in nothing."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        """The algorithm it claims, which the caller holds against those it accepts."""
        return str(self.header["alg"])

    @property
    def kid(self) -> str | None:
        """The name of the key it claims."""
        return self.header.get("kid")


@dataclass(frozen=True, slots=True)
class Key:
    """A checked public key."""

    kid: str | None
    kty: str
    alg: str | None
    """The only algorithm it may be used with, when its owner says so."""
    crv: str
    values: Mapping[str, Any]
    made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Algorithm -> the key as the arithmetic needs it, made when it is first used."""

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` of ``signed`` is this key's. Raises JOSEError and others for a key that is none."""
        found = self.made.get(algorithm)
        if found is None:
            found = self.made[algorithm] = jwk.construct(dict(self.values), algorithm)
        return bool(found.verify(signed, signature))

    def fits(self, algorithm: str) -> bool:
        """Whether signatures of ``algorithm`` can be this key's."""
        return ALGORITHMS.get(algorithm) == (self.kty, self.crv) and self.alg in (None, algorithm)


def parse(token: str) -> Unverified:
    """The parts of a compact JWS with JSON claims. Raises Invalid; says nothing of who made it."""
    if len(token) > MAX_TOKEN:
        raise Invalid(f"the token is longer than {MAX_TOKEN} characters")
    try:
        raw = token.encode("ascii")
    except UnicodeEncodeError:
        raise Invalid("the token holds characters that no token has") from None
    parts = raw.split(b".")
    if len(parts) != 3:
        raise Invalid("the token is no signed one: three parts with dots between them")
    if len(parts[0]) > MAX_HEADER:
        raise Invalid("the header of the token is too long")
    header = _object(_decoded(parts[0], "header"), "header")
    _check_header(header)
    claims = _object(_decoded(parts[1], "claims"), "claims")
    return Unverified(header, claims, b".".join(parts[:2]), _decoded(parts[2], "signature"))


def verify(token: Unverified, keys: Sequence[Key], algorithms: Sequence[str]) -> Mapping[str, Any]:
    """The claims of a token that one of ``keys`` has signed with one of ``algorithms``.

    The key is the only one with the token's ``kid`` that fits its algorithm (SMART App Launch 2.2, "Signature
    verification"); a token without ``kid`` is refused, and so is one whose ``kid`` two fitting keys have.
    """
    algorithm = token.algorithm
    if algorithm not in algorithms:
        raise Invalid(f"the algorithm is none of {', '.join(algorithms)}")
    if not token.kid:
        raise Invalid("the header names no key (kid)")
    fitting = [key for key in keys if key.kid == token.kid and key.fits(algorithm)]
    if len(fitting) != 1:
        raise Invalid("the header's kid names no single key that fits the algorithm")
    if not _signed_by(fitting[0], algorithm, token):
        raise Invalid("the signature is wrong")
    return token.claims


def _signed_by(key: Key, algorithm: str, token: Unverified) -> bool:
    size = _SIGNATURE.get(algorithm)
    if size is not None:
        if len(token.signature) != size:
            return False
        order, half = _ORDERS[algorithm], size // 2
        r, s = int.from_bytes(token.signature[:half]), int.from_bytes(token.signature[half:])
        if not (0 < r < order and 0 < s < order):
            return False
    try:
        return key.verifies(algorithm, token.signed, token.signature)
    except (JOSEError, ValueError, TypeError):
        return False


def sign(claims: Mapping[str, Any], private_pem: str, *, algorithm: str, kid: str, typ: str = "JWT") -> str:
    """A compact JWS of ``claims``."""
    if algorithm not in ALGORITHMS:
        raise Invalid(f"{algorithm} is not signed with")
    header = {"alg": algorithm, "kid": kid, "typ": typ}
    signed = b".".join(
        _encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
    )
    signature = _signer(private_pem, algorithm).sign(signed)
    return (signed + b"." + _encoded(signature)).decode("ascii")


@lru_cache(maxsize=8)
def _signer(private_pem: str, algorithm: str) -> Any:
    """A private key ready to sign: to read one of RSA takes a hundred times as long as to sign with it."""
    return jwk.construct(private_pem, algorithm)


def key_set(document: Any) -> tuple[Key, ...]:
    """The usable public signing keys of a JWK Set (RFC 7517 §5). Raises Invalid when it is none, or holds a secret.

    Keys of types that are not used here, or for encryption, are passed over; at least one has to be left.
    """
    keys = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= MAX_KEYS:
        raise Invalid(f"a JSON Web Key Set is an object with 1 to {MAX_KEYS} keys")
    found = [key for one in keys if (key := _key(one)) is not None]
    if not found:
        raise Invalid(
            "the key set holds no public RSA key (2048 bits or more) or EC key (P-256, P-384) to verify with"
        )
    return tuple(found)


def kept(document: Any) -> dict[str, Any]:
    """Of a JWK Set what :func:`key_set` finds usable, without members that mean nothing here. Raises Invalid."""
    key_set(document)
    usable = [(one, key) for one in document["keys"] if (key := _key(one)) is not None]
    return {
        "keys": [
            {**{name: one[name] for name in ("use", "alg", "kid") if one.get(name) is not None}, **key.values}
            for one, key in usable
        ]
    }


def _key(values: Any) -> Key | None:
    """A checked key; None for one of another kind."""
    if not isinstance(values, Mapping):
        raise Invalid("a key is a JSON object")
    if _PRIVATE & values.keys():
        raise Invalid("the key set holds a private or symmetric key; register the public ones only")
    uses = values.get("key_ops")
    if values.get("use", "sig") != "sig" or (isinstance(uses, list) and "verify" not in uses):
        return None
    kid, alg, kty = values.get("kid"), values.get("alg"), values.get("kty")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= 256 and kid.isprintable()):
        raise Invalid("kid is a string of 1 to 256 printable characters")
    if alg is not None and alg not in ALGORITHMS:
        return None
    if kty == "RSA":
        return _rsa(values, kid, alg)
    if kty == "EC" and values.get("crv") in _CURVES:
        return _elliptic(values, kid, alg)
    return None


def _rsa(values: Mapping[str, Any], kid: str | None, alg: str | None) -> Key:
    n, e = (_number(values.get(name), MAX_RSA // 8 + 1) for name in ("n", "e"))
    if not MIN_RSA <= n.bit_length() <= MAX_RSA:
        raise Invalid(f"an RSA key has {MIN_RSA} to {MAX_RSA} bits")
    if not (e & 1 and 3 <= e < 1 << 33):
        raise Invalid("the exponent of an RSA key is a small odd number such as 65537")
    try:
        rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError:
        raise Invalid("that is no RSA key") from None
    return Key(kid, "RSA", alg, "", {"kty": "RSA", "n": values["n"], "e": values["e"]})


def _elliptic(values: Mapping[str, Any], kid: str | None, alg: str | None) -> Key:
    name = values["crv"]
    curve, size = _CURVES[name]
    x, y = (_number(values.get(part), size) for part in ("x", "y"))
    try:
        ec.EllipticCurvePublicNumbers(x, y, curve()).public_key()
    except ValueError:
        raise Invalid(f"x and y are no point of the curve {name}") from None
    return Key(kid, "EC", alg, name, {"kty": "EC", "crv": name, "x": values["x"], "y": values["y"]})


def _number(text: Any, most: int) -> int:
    if not isinstance(text, str) or len(text) > most * 2:
        raise Invalid("the numbers of a key are base64url strings")
    try:
        found = _decoded(text.encode("ascii"), "key")
    except UnicodeEncodeError:
        raise Invalid("the numbers of a key are base64url strings") from None
    if len(found) > most:
        raise Invalid("a number of the key is too large")
    return int.from_bytes(found)


def _check_header(header: Mapping[str, Any]) -> None:
    others = header.keys() - _HEADERS
    if others:
        raise Invalid(
            "the header holds parameters that are not taken (of crit, b64, jwk, zip, enc and others)"
        )
    for name in ("alg", "kid", "typ", "jku"):
        value = header.get(name)
        if name in header and not (isinstance(value, str) and 0 < len(value) <= 2048 and value.isprintable()):
            raise Invalid(f"{name} in the header is no plain string")
    if header.get("alg") not in ALGORITHMS:
        raise Invalid("the algorithm is missing or not one that is verified here")
    if len(header.get("kid") or "") > 256:
        raise Invalid("kid in the header has more than 256 characters")


def _decoded(part: bytes, what: str) -> bytes:
    """base64url without padding, the one spelling of these bytes only (RFC 4648 §3.5)."""
    if not _PART.fullmatch(part) or len(part) % 4 == 1:
        raise Invalid(f"the {what} is not base64url without padding")
    found = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    if _encoded(found) != part:
        raise Invalid(f"the {what} is not base64url in its canonical form")
    return found


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _object(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object in UTF-8 without duplicate names and without NaN (RFC 8259; RFC 7519 §4)."""
    try:
        found = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_no_float,
        )
    except Invalid:
        raise
    except (ValueError, RecursionError):
        raise Invalid(f"the {what} is no JSON") from None
    if not isinstance(found, dict):
        raise Invalid(f"the {what} is no JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Invalid("a name stands twice in one object of the token")
    return found


def _no_constant(text: str) -> Any:
    raise Invalid("the token holds a number that is none")


def _no_float(text: str) -> float:
    """Times with fractions are allowed by RFC 7519; infinite ones (1e999) are not numbers."""
    found = float(text)
    if found in (float("inf"), float("-inf")):
        raise Invalid("the token holds a number that is too large")
    return found


def moment(claims: Mapping[str, Any], name: str) -> float | None:
    """The NumericDate ``name`` in seconds (RFC 7519 §2); None when absent. Raises Invalid when it is no time."""
    value = claims.get(name)
    if name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise Invalid(f"{name} is no time: a number of seconds since 1970")
    return float(value)


def text(claims: Mapping[str, Any], name: str, most: int = 512) -> str:
    """The claim ``name``, a string of 1 to ``most`` printable characters. Raises Invalid."""
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise Invalid(f"{name} is missing, or no string of 1 to {most} printable characters")
    return value


def audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """``aud`` as a list (RFC 7519 §4.1.3). Raises Invalid."""
    value = claims.get("aud")
    many = value if isinstance(value, list) else [value]
    if not 0 < len(many) <= 10 or not all(isinstance(one, str) and one for one in many):
        raise Invalid("aud is missing, or neither a string nor a short list of strings")
    return tuple(many)

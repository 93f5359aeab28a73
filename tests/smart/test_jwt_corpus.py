"""Hostile tokens: none gets through the door to python-jose. What passes here decides whether that may stay (ADR 6).

Each case makes a token; the good ones of the same keys are the controls.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jose import jwt as library

from fhirhub.smart import jose
from support.smart import Signer, b64

ALGORITHMS = ("RS384", "ES384")
RS, ES, ES256 = Signer("RS384", "rsa"), Signer("ES384", "ec"), Signer("ES256", "small")
STRANGER = Signer("ES384", "ec")
KEYS = jose.key_set({"keys": [RS.public, ES.public, ES256.public]})
CLAIMS: dict[str, Any] = {"iss": "c", "sub": "c", "aud": "t", "exp": 1, "jti": "j"}
PEM = RS.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = RS.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
ORDER = jose._ORDERS["ES384"]


def accepted(token: str, keys: tuple[jose.Key, ...] = KEYS) -> bool:
    try:
        return dict(jose.verify(jose.parse(token), keys, ALGORITHMS)) is not None
    except jose.Invalid as error:
        assert "PRIVATE" not in str(error) and len(str(error)) < 300
        return False


def raw(header: Any, payload: Any = CLAIMS) -> bytes:
    """The signed part of a token; bytes are taken as they are."""
    parts = (part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload))
    return b".".join(b64(part).encode() for part in parts)


def sealed(signed: bytes, signature: bytes) -> str:
    return f"{signed.decode()}.{b64(signature)}"


def by_es(header: dict[str, Any] | bytes | None = None, payload: Any = CLAIMS, signer: Signer = ES) -> str:
    """A token with a right signature of the EC key, whatever the rest."""
    signed = raw({"alg": "ES384", "kid": "ec", "typ": "JWT"} if header is None else header, payload)
    return sealed(signed, es_signature(signed, signer))


def es_signature(signed: bytes, signer: Signer = ES, digest: hashes.HashAlgorithm | None = None) -> bytes:
    assert isinstance(signer.private, ec.EllipticCurvePrivateKey)
    size = (signer.private.curve.key_size + 7) // 8
    r, s = decode_dss_signature(signer.private.sign(signed, ec.ECDSA(digest or hashes.SHA384())))
    return r.to_bytes(size) + s.to_bytes(size)


def by_rs(header: dict[str, Any], pad: Any = None, digest: Any = None) -> str:
    assert isinstance(RS.private, rsa.RSAPrivateKey)
    signed = raw(header)
    return sealed(signed, RS.private.sign(signed, pad or padding.PKCS1v15(), digest or hashes.SHA384()))


def by_hmac(alg: str, key: bytes, kid: str = "rsa") -> str:
    signed = raw({"alg": alg, "kid": kid, "typ": "JWT"})
    return sealed(
        signed, hmac.new(key, signed, {"HS256": hashlib.sha256, "HS384": hashlib.sha384}[alg]).digest()
    )


def header(**changed: Any) -> dict[str, Any]:
    good = {"alg": "ES384", "kid": "ec", "typ": "JWT"} | changed
    return {name: value for name, value in good.items() if value is not None}


def edited(change: Callable[[list[str]], list[str]]) -> str:
    """A good token whose three parts were changed."""
    return ".".join(change(by_es().split(".")))


def halves(change: Callable[[int, int], tuple[int, int]]) -> str:
    """A good token whose signature's numbers were changed."""
    signed = raw(header())
    signature = es_signature(signed)
    r, s = change(int.from_bytes(signature[:48]), int.from_bytes(signature[48:]))
    return sealed(signed, r.to_bytes(48) + s.to_bytes(48))


CASES: dict[str, Callable[[], str]] = {
    # no signature, or none that counts
    "alg none": lambda: sealed(raw({"alg": "none", "kid": "ec"}), b"x"),
    "alg none, empty signature": lambda: raw({"alg": "none", "kid": "ec"}).decode() + ".",
    "alg None": lambda: raw({"alg": "None"}).decode() + ".",
    "alg nOnE": lambda: raw({"alg": "nOnE", "kid": "ec"}).decode() + ".",
    "alg missing": lambda: by_es(header(alg=None)),
    "alg null": lambda: by_es(b'{"alg":null,"kid":"ec"}'),
    "alg empty": lambda: by_es(header(alg="")),
    "alg a list": lambda: by_es(header(alg=["ES384"])),
    "alg a number": lambda: by_es(header(alg=384)),
    "alg lower case": lambda: by_es(header(alg="es384")),
    "alg with a blank": lambda: by_es(header(alg="ES384 ")),
    "empty signature": lambda: edited(lambda p: [p[0], p[1], ""]),
    "another's signature": lambda: by_es(signer=STRANGER),
    "payload changed": lambda: edited(lambda p: [p[0], b64(b'{"iss":"admin"}'), p[2]]),
    "header changed": lambda: edited(lambda p: [b64(b'{"alg":"ES384","kid":"ec"}'), p[1], p[2]]),
    "signature of the payload alone": lambda: edited(
        lambda p: [p[0], p[1], b64(es_signature(p[1].encode()))]
    ),
    # a public key taken for a secret
    "HS256 with the PEM": lambda: by_hmac("HS256", PEM),
    "HS384 with the PEM": lambda: by_hmac("HS384", PEM),
    "HS256 with the DER": lambda: by_hmac("HS256", DER),
    "HS256 with the PEM, stripped": lambda: by_hmac("HS256", PEM.strip()),
    "HS256 with the modulus": lambda: by_hmac("HS256", RS.public["n"].encode()),
    "HS256 with the JWK": lambda: by_hmac("HS256", json.dumps(RS.public).encode()),
    "HS256 with an empty key": lambda: by_hmac("HS256", b""),
    "HS384 with the EC key's kid": lambda: by_hmac("HS384", PEM, "ec"),
    # another algorithm than agreed, or than the key's
    "RS256": lambda: by_rs(header(alg="RS256", kid="rsa"), digest=hashes.SHA256()),
    "RS512": lambda: by_rs(header(alg="RS512", kid="rsa"), digest=hashes.SHA512()),
    "PS384": lambda: by_rs(header(alg="PS384", kid="rsa"), padding.PSS(padding.MGF1(hashes.SHA384()), 48)),
    "RS384 over SHA-256": lambda: by_rs(header(alg="RS384", kid="rsa"), digest=hashes.SHA256()),
    "RS384 padded as PSS": lambda: by_rs(
        header(alg="RS384", kid="rsa"), padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    ),
    "ES256": lambda: by_es(header(alg="ES256", kid="small"), signer=ES256),
    "ES384 with a key of P-256": lambda: by_es(header(kid="small"), signer=ES256),
    "ES384 over SHA-256": lambda: sealed(raw(header()), es_signature(raw(header()), ES, hashes.SHA256())),
    "ES384 named, RSA key": lambda: by_es(header(kid="rsa")),
    "RS384 named, EC key": lambda: by_rs(header(alg="RS384", kid="ec")),
    "EdDSA": lambda: by_es(header(alg="EdDSA")),
    "ES256K": lambda: by_es(header(alg="ES256K")),
    # keys that the token brings or points to
    "jwk embedded": lambda: by_es(header(jwk=STRANGER.public), signer=STRANGER),
    "jwk embedded, of our own key": lambda: by_es(header(jwk=ES.public)),
    "kid missing": lambda: by_es(header(kid=None)),
    "kid empty": lambda: by_es(header(kid="")),
    "kid null": lambda: by_es(b'{"alg":"ES384","kid":null}'),
    "kid a number": lambda: by_es(header(kid=1)),
    "kid a list": lambda: by_es(header(kid=["ec"])),
    "kid of nobody": lambda: by_es(header(kid="other")),
    "kid a path": lambda: by_es(header(kid="../../../../dev/null")),
    "kid SQL": lambda: by_es(header(kid="x' union select 'ec")),
    "kid with a line": lambda: by_es(header(kid="ec\n")),
    "kid with a NUL": lambda: by_es(header(kid="ec\x00")),
    "kid in another case": lambda: by_es(header(kid="EC")),
    "kid long": lambda: by_es(header(kid="e" * 257)),
    "jku no string": lambda: by_es(header(jku=["https://evil.example/jwks"])),
    # headers that change what is signed
    "crit unknown": lambda: by_es(header(crit=["exp"], exp=1)),
    "crit empty": lambda: by_es(header(crit=[])),
    "crit b64": lambda: by_es(header(crit=["b64"], b64=False)),
    "b64 alone": lambda: by_es(header(b64=False)),
    "zip": lambda: by_es(header(zip="DEF")),
    "enc": lambda: by_es(header(enc="A256GCM")),
    "unknown header": lambda: by_es(header(admin=True)),
    "alg twice": lambda: by_es(b'{"alg":"none","kid":"ec","alg":"ES384"}'),
    "kid twice": lambda: by_es(b'{"alg":"ES384","kid":"other","kid":"ec"}'),
    "alg twice, escaped": lambda: by_es(b'{"alg":"none","kid":"ec","\\u0061lg":"ES384"}'),
    # forms of the whole
    "empty": lambda: "",
    "dots": lambda: "..",
    "one part": lambda: by_es().split(".")[0],
    "two parts": lambda: by_es().rsplit(".", 1)[0],
    "four parts": lambda: by_es() + ".x",
    "five parts, encrypted": lambda: f"{b64(b'{}')}.a.b.c.d",
    "JSON serialization": lambda: json.dumps({"payload": by_es().split(".")[1], "signatures": []}),
    "nested": lambda: by_es(header(cty="JWT"), by_es().encode()),
    "blank before": lambda: " " + by_es(),
    "line after": lambda: by_es() + "\n",
    "NUL after": lambda: by_es() + "\x00",
    "padding": lambda: edited(lambda p: [p[0], p[1], p[2] + "="]),
    "padding of the header": lambda: edited(lambda p: [p[0] + "=" * (-len(p[0]) % 4 or 4), p[1], p[2]]),
    "standard base64": lambda: edited(lambda p: [p[0], p[1], p[2][:-1] + "+"]),
    "unused bits set": lambda: f"{raw(header(), CLAIMS | {'x': 'a'}).decode()}.{'A' * 127}B",
    "spare bits of the signature set": lambda: _spare(by_rs(header(alg="RS384", kid="rsa"))),
    "signature cut": lambda: edited(lambda p: [p[0], p[1], p[2][:-4]]),
    "signature longer": lambda: edited(lambda p: [p[0], p[1], p[2] + "AAAA"]),
    "blank inside": lambda: edited(lambda p: [p[0], p[1][:9] + " " + p[1][9:], p[2]]),
    "unicode dots": lambda: by_es().replace(".", "．"),
    "unicode letters": lambda: "é" + by_es()[1:],
    "surrogates": lambda: "\ud800" + by_es(),
    "long": lambda: by_es(payload=CLAIMS | {"x": "x" * 20_000}),
    "long header": lambda: by_es(header(x5t="x" * 5000)),
    # JSON that parsers read differently
    "claims twice": lambda: by_es(payload=b'{"iss":"c","sub":"c","iss":"admin"}'),
    "claims twice, deep": lambda: by_es(payload=b'{"act":{"sub":"a","sub":"b"}}'),
    "claims a list": lambda: by_es(payload=[CLAIMS]),
    "claims a string": lambda: by_es(payload="c"),
    "claims null": lambda: by_es(payload=b"null"),
    "claims no JSON": lambda: by_es(payload=b"iss=c"),
    "claims empty": lambda: by_es(payload=b""),
    "claims in UTF-16": lambda: by_es(payload=json.dumps(CLAIMS).encode("utf-16")),
    "claims with a mark": lambda: by_es(payload=b"\xef\xbb\xbf" + json.dumps(CLAIMS).encode()),
    "claims not UTF-8": lambda: by_es(payload=b'{"iss":"\xff"}'),
    "claims with more after": lambda: by_es(payload=b'{"iss":"c"}{"iss":"d"}'),
    "claims deep": lambda: by_es(payload=b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "NaN": lambda: by_es(payload=b'{"exp":NaN}'),
    "Infinity": lambda: by_es(payload=b'{"exp":Infinity}'),
    "infinite": lambda: by_es(payload=b'{"exp":1e999}'),
    "a number of 5000 digits": lambda: by_es(payload=b'{"exp":' + b"9" * 5000 + b"}"),
    "header a list": lambda: by_es(b"[]"),
    "header no JSON": lambda: by_es(b"alg:ES384"),
    # arithmetic
    "zero signature": lambda: sealed(raw(header()), bytes(96)),
    "r zero": lambda: halves(lambda r, s: (0, s)),
    "s zero": lambda: halves(lambda r, s: (r, 0)),
    "r the order": lambda: halves(lambda r, s: (ORDER, s)),
    "s the order": lambda: halves(lambda r, s: (r, ORDER)),
    "r beyond the order": lambda: halves(lambda r, s: ((r + ORDER) % (1 << 384), s)),
    "r and s swapped": lambda: halves(lambda r, s: (s, r)),
    "all ones": lambda: sealed(raw(header()), b"\xff" * 96),
    "DER signature": lambda: sealed(raw(header()), _der(raw(header()))),
    "RSA signature zero": lambda: sealed(raw(header(alg="RS384", kid="rsa")), bytes(256)),
    "RSA signature one": lambda: sealed(raw(header(alg="RS384", kid="rsa")), bytes(255) + b"\x01"),
    "RSA signature short": lambda: sealed(raw(header(alg="RS384", kid="rsa")), b"\x01"),
    "RSA signature the modulus": lambda: sealed(
        raw(header(alg="RS384", kid="rsa")), base64.urlsafe_b64decode(RS.public["n"] + "==")
    ),
}


def _spare(token: str) -> str:
    """The same bytes in another spelling: 256 of them leave four bits of the last letter unused."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) + 1]


def _der(signed: bytes) -> bytes:
    assert isinstance(ES.private, ec.EllipticCurvePrivateKey)
    return ES.private.sign(signed, ec.ECDSA(hashes.SHA384()))


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_token_is_refused(name: str) -> None:
    assert not accepted(CASES[name]()), name


def test_the_corpus_is_as_large_as_was_asked_for() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("signer", [RS, ES], ids=["RS384", "ES384"])
def test_a_good_token_is_accepted_ours_and_the_librarys(signer: Signer) -> None:
    assert accepted(jose.sign(CLAIMS, signer.pem, algorithm=signer.algorithm, kid=signer.kid))
    theirs = library.encode(CLAIMS, signer.pem, signer.algorithm, headers={"kid": signer.kid})
    assert accepted(theirs)
    assert accepted(by_es()) and accepted(by_es(header(typ=None)))


def test_a_kid_that_two_fitting_keys_have_is_nobodys() -> None:
    twins = jose.key_set({"keys": [ES.public, STRANGER.public]})
    assert not accepted(by_es(), twins) and not accepted(by_es(signer=STRANGER), twins)
    apart = jose.key_set({"keys": [ES.public, RS.public | {"kid": "ec"}]})
    assert accepted(by_es(), apart), "keys of different types may share a kid"


def test_the_caller_says_which_algorithms_even_where_the_key_would_take_others() -> None:
    open_ = {name: value for name, value in RS.public.items() if name != "alg"}
    keys = jose.key_set({"keys": [open_]})
    assert accepted(by_rs(header(alg="RS384", kid="rsa")), keys)
    assert not accepted(by_rs(header(alg="RS256", kid="rsa"), digest=hashes.SHA256()), keys)


def test_keys_without_a_name_verify_nothing() -> None:
    keys = jose.key_set({"keys": [{name: value for name, value in ES.public.items() if name != "kid"}]})
    assert not accepted(by_es(header(kid=None)), keys) and not accepted(by_es(), keys)


def _small_rsa() -> dict[str, Any]:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    return {"kty": "RSA", "kid": "x", "n": b64(numbers.n.to_bytes(128)), "e": "AQAB"}


N = RS.public["n"]
KEY_SETS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a list": lambda: [ES.public],
    "keys missing": lambda: {},
    "keys no list": lambda: {"keys": ES.public},
    "no keys": lambda: {"keys": []},
    "too many": lambda: {"keys": [ES.public] * 51},
    "a key of text": lambda: {"keys": ["ec"]},
    "private": lambda: {"keys": [ES.public | {"d": "AAAA"}]},
    "private RSA": lambda: {"keys": [RS.public | {"p": "AAAA"}]},
    "symmetric": lambda: {"keys": [{"kty": "oct", "k": "AAAA"}]},
    "for encryption": lambda: {"keys": [ES.public | {"use": "enc"}]},
    "not for verifying": lambda: {"keys": [ES.public | {"key_ops": ["encrypt"]}]},
    "alg of another kind": lambda: {"keys": [ES.public | {"alg": "HS256"}]},
    "alg none": lambda: {"keys": [ES.public | {"alg": "none"}]},
    "RSA of 1024 bits": lambda: {"keys": [_small_rsa()]},
    "RSA of 16384 bits": lambda: {
        "keys": [{"kty": "RSA", "kid": "x", "n": b64(b"\xff" * 2048), "e": "AQAB"}]
    },
    "RSA exponent one": lambda: {"keys": [{"kty": "RSA", "kid": "x", "n": N, "e": "AQ"}]},
    "RSA exponent even": lambda: {"keys": [{"kty": "RSA", "kid": "x", "n": N, "e": "Ag"}]},
    "RSA exponent huge": lambda: {"keys": [{"kty": "RSA", "kid": "x", "n": N, "e": N}]},
    "RSA without a modulus": lambda: {"keys": [{"kty": "RSA", "kid": "x", "e": "AQAB"}]},
    "RSA modulus with padding": lambda: {"keys": [{"kty": "RSA", "kid": "x", "n": N + "==", "e": "AQAB"}]},
    "EC off the curve": lambda: {"keys": [ES.public | {"y": ES.public["x"]}]},
    "EC at infinity": lambda: {"keys": [ES.public | {"x": b64(bytes(48)), "y": b64(bytes(48))}]},
    "EC of another curve": lambda: {"keys": [ES.public | {"crv": "P-256"}]},
    "EC secp256k1": lambda: {"keys": [ES.public | {"crv": "secp256k1"}]},
    "EC coordinate too long": lambda: {"keys": [ES.public | {"x": b64(b"\x01" + bytes(48))}]},
    "EC coordinate a number": lambda: {"keys": [ES.public | {"x": 7}]},
    "kid a number": lambda: {"keys": [ES.public | {"kid": 7}]},
    "kid long": lambda: {"keys": [ES.public | {"kid": "x" * 257}]},
}


@pytest.mark.parametrize("name", KEY_SETS)
def test_a_key_set_that_is_refused(name: str) -> None:
    with pytest.raises(jose.Invalid):
        jose.key_set(KEY_SETS[name]())


def test_a_private_key_signs_with_pinned_algorithms_only() -> None:
    pem = ES.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for algorithm in ("none", "HS256", "RS512", ""):
        with pytest.raises(jose.Invalid):
            jose.sign(CLAIMS, pem, algorithm=algorithm, kid="x")

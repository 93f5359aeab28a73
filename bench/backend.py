"""Backend services of a server under load: registered by command, signing in as any other does.

https://hl7.org/fhir/smart-app-launch/backend-services.html
"""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jose import jwk

from bench.lab import Lab

SCOPE = "system/*.crs"
PATH = "/auth/token"
_ALGORITHM, _KEY = "RS384", "bench"
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Backend:
    """A registered service, and the key that it signs with."""

    id: str
    key: rsa.RSAPrivateKey

    def form(self, port: int) -> bytes:
        """The body of a request for a token at the server on ``port``: good once, for four minutes."""
        url = f"http://127.0.0.1:{port}{PATH}"
        claims = {
            "iss": self.id, "sub": self.id, "aud": url, "exp": int(time.time()) + 240, "jti": secrets.token_hex(8),
        }  # fmt: skip
        header = {"alg": _ALGORITHM, "kid": _KEY, "typ": "JWT"}
        signed = b".".join(_packed(json.dumps(part).encode()) for part in (header, claims))
        signature = self.key.sign(signed, padding.PKCS1v15(), hashes.SHA384())
        assertion = (signed + b"." + _packed(signature)).decode()
        fields = {
            "grant_type": "client_credentials",
            "scope": SCOPE,
            "client_assertion_type": _ASSERTION,
            "client_assertion": assertion,
        }
        return urlencode(fields).encode()

    def request(self, port: int) -> bytes:
        """The same as bytes to send."""
        body = self.form(port)
        head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {_FORM}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def registered(lab: Lab, dsn: str, count: int = 1) -> list[Backend]:
    """``count`` services with a key of 2048 bits each, on the database ``dsn``."""
    return [_registered(lab, dsn, number) for number in range(count)]


def _registered(lab: Lab, dsn: str, number: int) -> Backend:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = jwk.construct(pem, _ALGORITHM).public_key().to_dict()
    own = {name: value.decode() if isinstance(value, bytes) else value for name, value in public.items()}
    path = lab.home / f"jwks{number}.json"
    own |= {"kid": _KEY, "alg": _ALGORITHM, "use": "sig"}
    path.write_text(json.dumps({"keys": [own]}), encoding="utf-8")
    command = [sys.executable, "-m", "fhirhub", "clients", "add", f"Bench {number}", "--kind", "backend"]
    command += ["--scope", SCOPE, "--jwks", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=lab.environment(dsn), check=False)
    if done.returncode:
        raise RuntimeError(f"no client: {done.stdout[-300:]} {done.stderr[-300:]}")
    told = json.loads(done.stdout)
    return Backend(str(told.get("client_id") or told["id"]), key)


def _packed(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(port: int, client: Backend) -> str:
    """An access token."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", PATH, client.form(port), {"Content-Type": _FORM})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"no token: {answer.status} {body[:300]!r}")
    return str(json.loads(body)["access_token"])

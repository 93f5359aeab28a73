"""How a system without a user gets in: SMART Backend Services (https://hl7.org/fhir/smart-app-launch/backend-services.html).

    python lab.py keys FILE                  make a key pair: the private key into FILE, the public one (JWKS) is printed
    python lab.py token BASE CLIENT_ID FILE  print an access token of the server with the FHIR base BASE; good for minutes

Needs python-jose[cryptography] and httpx, which fhirhub's own environment has.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jose import jwk, jwt

ALGORITHM = "ES384"
KID = "lab-1"
"""Names the key, so that there can be a next one beside it."""


def keys(file: Path) -> str:
    """Write a new private key into ``file`` (PEM, for its owner only); the key set to register."""
    private = ec.generate_private_key(ec.SECP384R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # Never over a key that is there, and at no time readable for others.
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(pem)
    public = jwk.construct(pem, ALGORITHM).public_key().to_dict()
    return json.dumps({"keys": [public | {"kid": KID, "use": "sig"}]})


def token(base: str, client_id: str, file: Path) -> str:
    """An access token for the client's whole scope, for a proof that the private key in ``file`` is ours."""
    smart = httpx.get(f"{base}/.well-known/smart-configuration").raise_for_status().json()
    endpoint = smart["token_endpoint"]
    proof = jwt.encode(
        {
            "iss": client_id,
            "sub": client_id,
            "aud": endpoint,
            "exp": int(time.time()) + 60,
            "jti": secrets.token_urlsafe(),
        },
        file.read_text(),
        algorithm=ALGORITHM,
        headers={"kid": KID},
    )
    form = {
        "grant_type": "client_credentials",
        "scope": "system/*.cruds",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": proof,
    }
    answer = httpx.post(endpoint, data=form)
    if answer.is_error:
        raise SystemExit(f"{endpoint} answered {answer.status_code}: {answer.text}")
    return str(answer.json()["access_token"])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["keys", file]:
            print(keys(Path(file)))
        case ["token", base, client_id, file]:
            print(token(base, client_id, Path(file)))
        case _:
            sys.exit(__doc__)

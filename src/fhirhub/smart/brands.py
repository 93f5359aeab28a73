"""The practice as apps list it: https://hl7.org/fhir/smart-app-launch/brands.html (User-access Brands and Endpoints).

One Organization with its portal (this server's pages) and one Endpoint (its FHIR base), from the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fhirhub.settings import Settings
from fhirhub.smart.address import fhir_base
from fhirhub.smart.context import Smart
from fhirhub.smart.web import ANYONE, origin_of, publish

_PROFILE = "http://hl7.org/fhir/smart-app-launch/StructureDefinition/"
_EXTENSION = "http://hl7.org/fhir/StructureDefinition/"
_HEADERS = {**ANYONE, "Access-Control-Expose-Headers": "ETag", "Cache-Control": "public, max-age=300"}
_URI = "urn:ietf:rfc:3986"


def identifier(settings: Settings, origin: str) -> dict[str, str]:
    """What names the practice's brand: its web site without "www." and path, else this server's address."""
    parts = urlsplit(settings.practice_url or origin)
    return {"system": _URI, "value": f"{parts.scheme}://{parts.netloc.removeprefix('www.')}"}


def bundle(settings: Settings, origin: str, timestamp: str) -> dict[str, Any]:
    """The brand bundle of the server at ``origin``."""
    organization, endpoint = f"{origin}/Organization/practice", f"{origin}/Endpoint/fhir"
    return {
        "resourceType": "Bundle",
        "id": "brands",
        "meta": {"lastUpdated": timestamp, "profile": [f"{_PROFILE}user-access-brands-bundle"]},
        "type": "collection",
        "timestamp": timestamp,
        "entry": [
            {"fullUrl": organization, "resource": _organization(settings, origin, endpoint)},
            {"fullUrl": endpoint, "resource": _endpoint(settings, origin, organization)},
        ],
    }


def _organization(settings: Settings, origin: str, endpoint: str) -> dict[str, Any]:
    portal = [
        {"url": "portalName", "valueString": settings.practice_name},
        {"url": "portalUrl", "valueUrl": f"{origin}/auth/sign-in"},
        {"url": "portalEndpoint", "valueReference": {"reference": endpoint}},
    ]
    extensions: list[dict[str, Any]] = [{"url": f"{_EXTENSION}organization-portal", "extension": portal}]
    if settings.practice_logo:
        logo = [{"url": "brandLogo", "valueUrl": settings.practice_logo}]
        extensions.insert(0, {"url": f"{_EXTENSION}organization-brand", "extension": logo})
    return {
        "resourceType": "Organization",
        "id": "practice",
        "meta": {"profile": [f"{_PROFILE}user-access-brand"]},
        "extension": extensions,
        "identifier": [identifier(settings, origin)],
        "active": True,
        "type": [
            {
                "coding": [
                    {"system": "http://terminology.hl7.org/CodeSystem/organization-type", "code": "prov"}
                ]
            }
        ],
        "name": settings.practice_name,
        "telecom": [{"system": "url", "value": settings.practice_url or origin}],
        "endpoint": [{"reference": endpoint}],
    }


def _endpoint(settings: Settings, origin: str, organization: str) -> dict[str, Any]:
    return {
        "resourceType": "Endpoint",
        "id": "fhir",
        "meta": {"profile": [f"{_PROFILE}user-access-endpoint"]},
        "extension": [{"url": f"{_EXTENSION}endpoint-fhir-version", "valueCode": "4.0.1"}],
        "status": "active",
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "hl7-fhir-rest",
        },
        "name": f"FHIR R4 of {settings.practice_name}",
        "managingOrganization": {"reference": organization},
        "contact": [{"system": "url", "value": settings.practice_url or origin}],
        "payloadType": [
            {
                "coding": [
                    {"system": "http://terminology.hl7.org/CodeSystem/endpoint-payload-type", "code": "none"}
                ]
            }
        ],
        "address": fhir_base(origin),
    }


def router(smart: Smart) -> APIRouter:
    """The route of the brand bundle."""
    routes = APIRouter()
    # The settings of a process do not change: what they say is as old as it is, at most.
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def brands(request: Request) -> Response:
        document = bundle(smart.settings, origin_of(request, smart.settings), since)
        headers = {**_HEADERS, "ETag": etag(document)}
        if headers["ETag"] in (part.strip() for part in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        return Response(orjson.dumps(document), headers=headers, media_type="application/fhir+json")

    publish(routes, "/branding.json", brands)
    return routes


def etag(document: Mapping[str, Any]) -> str:
    """A weak validator that is the same in every process: of the entries, not of the timestamp."""
    return f'W/"{sha256(orjson.dumps(document["entry"])).hexdigest()[:32]}"'

"""An app's authorization request and a person's answer: RFC 6749 §4.1, RFC 7636, RFC 9207, SMART App Launch 2.2.

:func:`begin` checks a request and keeps it; ``pages`` leads the person through sign-in, the choice of a patient and
consent; :func:`allow` and :func:`refuse` end it with the address the browser is sent to. Until the redirect URI is known
to be the client's, and when the app asks for another server than this one, nothing is ever redirected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fhirhub.smart import asked
from fhirhub.smart.address import fhir_base
from fhirhub.smart.context import Smart
from fhirhub.smart.redirects import registered, with_parameters
from fhirhub.smart.storage import authorizations
from fhirhub.smart.storage.authorizations import CodeRow, Context, RequestRow, new_handle
from fhirhub.smart.storage.clients import Client
from fhirhub.smart.storage.sessions import Session
from fhirhub.smart.web import FormError, single

MAX_STATE = 2048
MAX_SCOPE = 8192
MAX_SCOPES = 200
_VISIBLE = re.compile(r"[ -~]+")
"""RFC 6749 appendix A.5: state is VSCHAR."""
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
"""43 characters of base64url; the last one has 4 bits left of 256."""
_HANDLE = re.compile(r"[A-Za-z0-9_-]{20,128}")
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_NOT_SERVED = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
    "registration": "registration_not_supported",
}


class Unproven(Exception):
    """A request that must not be answered by a redirect; a page tells the person why."""

    def __init__(self, heading: str, text: str) -> None:
        super().__init__(heading)
        self.heading, self.text = heading, text


class Refused(Exception):
    """A request that the app is told to be wrong: RFC 6749 §4.1.2.1. ``location`` is where the browser goes.

    With ``asking``, the name of an app that nobody has looked at, the person decides whether it does: anybody could
    register an address and make a link to it that looks like one to us (RFC 9700 §4.11.2).
    """

    def __init__(self, location: str, error: str, asking: str = "") -> None:
        super().__init__(error)
        self.location, self.error, self.asking = location, error, asking


class Crowded(Exception):
    """Too many requests from one place; ``wait`` is the seconds until there may be another."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class _Reply:
    """How answers get back to the app."""

    redirect_uri: str
    state: str | None
    issuer: str
    asking: str = ""
    """Name of the app when it is not known well enough to send a browser there unasked."""

    def error(self, error: str, description: str) -> Refused:
        pairs = (
            ("error", error),
            ("error_description", description),
            ("state", self.state),
            ("iss", self.issuer),
        )
        return Refused(with_parameters(self.redirect_uri, pairs), error, self.asking)


async def begin(
    smart: Smart, origin: str, fields: Sequence[tuple[str, str]], address: str = ""
) -> RequestRow:
    """Check a request's ``fields`` and keep it; it came from ``address``. Raises Unproven, Refused and Crowded."""
    client, redirect_uri = await _client(smart, fields)
    state = _state(fields)
    reply = _Reply(redirect_uri, state, smart.issuer(origin), client.name if client.unchecked else "")
    try:
        given = single(fields)
    except FormError as error:
        raise reply.error("invalid_request", str(error)) from None
    _check_audience(given, fhir_base(origin))
    if state is None:
        text = f"state is missing, or is not 1 to {MAX_STATE} printable ASCII characters."
        raise reply.error("invalid_request", text)
    _check_response(given, reply)
    challenge = _challenge(given, reply)
    scope = _scope(given, client, reply)
    prompt, max_age = _prompt(given, reply)
    request = RequestRow(
        id="", client=client.id, redirect_uri=redirect_uri, scope=scope, state=state, challenge=challenge,
        nonce=_nonce(given, reply), prompt=prompt, max_age=max_age,
    )  # fmt: skip
    request = await _launched(smart, given, request, reply)
    if not request.launched and (wait := smart.arrivals.wait(address)):
        raise Crowded(wait)
    return await authorizations.add_request(smart.lane, request, smart.clock())


async def _client(smart: Smart, fields: Sequence[tuple[str, str]]) -> tuple[Client, str]:
    """The client, and the redirect URI that is proven to be its own."""
    ids = [value for name, value in fields if name == "client_id"]
    uris = [value for name, value in fields if name == "redirect_uri"]
    client = await smart.clients.get(ids[0]) if len(ids) == 1 and _VISIBLE.fullmatch(ids[0][:256]) else None
    if client is None or not client.active or client.kind == "backend":
        raise Unproven(
            "This app is not known here",
            "The link that brought you here names no app that may ask for access to this record. "
            "Go back to the app; its makers have to register it with the practice.",
        )
    if len(uris) != 1 or not registered(client.redirect_uris, uris[0], native=client.kind == "public"):
        raise Unproven(
            "This app asks for its answer at a wrong address",
            f"The address (redirect_uri) is not one that {client.name} has registered, so nothing was sent there. "
            "Its makers have to register exactly the address they use.",
        )
    return client, uris[0]


def _check_audience(given: Mapping[str, str], base: str) -> None:
    """The app means this server: ``aud``, or ``resource`` (RFC 8707) in its stead, is our FHIR base.

    An app that was lured into using another server sends that one's address here; the person has to know, and the app
    gets nothing: https://hl7.org/fhir/smart-app-launch/app-launch.html#obtain-authorization-code.
    """
    named = {given[name].removesuffix("/") for name in ("aud", "resource") if name in given}
    if named != {base}:
        raise Unproven(
            "The app means another server",
            f"It has to ask for this server's FHIR base, {base}, as aud, and did not. Nothing was sent to it. "
            "If you were led here from a place you do not know, do not go on.",
        )


def _state(fields: Sequence[tuple[str, str]]) -> str | None:
    """``state``, to be given back as it came; None when there is not one that can be."""
    states = [value for name, value in fields if name == "state"]
    good = len(states) == 1 and len(states[0]) <= MAX_STATE and _VISIBLE.fullmatch(states[0])
    return states[0] if good else None


def _check_response(given: Mapping[str, str], reply: _Reply) -> None:
    for name, error in _NOT_SERVED.items():
        if name in given:
            raise reply.error(error, f"The parameter {name} is not served; send plain parameters.")
    if "response_type" not in given:
        raise reply.error("invalid_request", "response_type is missing; it is 'code'.")
    if given["response_type"] != "code":
        raise reply.error("unsupported_response_type", "The only response_type is 'code'.")
    if given.get("response_mode", "query") != "query":
        raise reply.error("invalid_request", "The only response_mode is 'query'.")


def _challenge(given: Mapping[str, str], reply: _Reply) -> str:
    """The code challenge: RFC 7636 §4.3, S256 only."""
    if given.get("code_challenge_method") != "S256":
        text = "code_challenge_method must be S256: every app proves with PKCE that the code is its own."
        raise reply.error("invalid_request", text)
    challenge = given.get("code_challenge", "")
    if not _CHALLENGE.fullmatch(challenge):
        text = "code_challenge must be the SHA-256 of the code verifier in base64url, 43 characters without padding."
        raise reply.error("invalid_request", text)
    return challenge


def _scope(given: Mapping[str, str], client: Client, reply: _Reply) -> str:
    """What of ``scope`` the client may ask for."""
    text = given.get("scope", "")
    if not text or len(text) > MAX_SCOPE or not re.fullmatch(r"[!#-\[\]-~ ]+", text):
        raise reply.error(
            "invalid_scope", f"scope is missing, or is not 1 to {MAX_SCOPE} characters of scopes."
        )
    words = list(dict.fromkeys(text.split(" ")))
    if len(words) > MAX_SCOPES:
        raise reply.error("invalid_scope", f"A request may have {MAX_SCOPES} scopes.")
    kept = asked.allowed(words, client.scopes, launched="launch" in given)
    if not any(asked.opens(word) for word in kept):
        text = "None of these scopes is one that this app is registered for and that means something here."
        raise reply.error("invalid_scope", text)
    return " ".join(kept)


def _nonce(given: Mapping[str, str], reply: _Reply) -> str | None:
    nonce = given.get("nonce")
    if nonce is not None and not (0 < len(nonce) <= 512 and _VISIBLE.fullmatch(nonce)):
        raise reply.error("invalid_request", "nonce must have 1 to 512 printable ASCII characters.")
    return nonce


def _prompt(given: Mapping[str, str], reply: _Reply) -> tuple[str, int | None]:
    """``prompt`` and ``max_age``: OpenID Connect Core §3.1.2.1."""
    prompts = given.get("prompt", "").split()
    if not _PROMPTS.issuperset(prompts) or ("none" in prompts and len(prompts) > 1):
        raise reply.error(
            "invalid_request", "prompt takes login, consent, select_account, or none by itself."
        )
    if "none" in prompts and reply.asking:
        raise reply.error("interaction_required", "A person has to see this app; ask without prompt=none.")
    age = given.get("max_age")
    if age is not None and not re.fullmatch(r"[0-9]{1,9}", age):
        raise reply.error("invalid_request", "max_age is a number of seconds.")
    return " ".join(prompts), None if age is None else int(age)


async def _launched(smart: Smart, given: Mapping[str, str], request: RequestRow, reply: _Reply) -> RequestRow:
    """The request with the context of the EHR launch that it answers, if it does; the launch is spent by it."""
    handle = given.get("launch")
    if handle is None:
        return request
    launch = None
    if _HANDLE.fullmatch(handle):
        launch = await authorizations.take_launch(smart.lane, handle, request.client, smart.clock())
    if launch is None:
        text = "This launch is unknown, was used before, is older than five minutes, or is another app's; start again."
        raise reply.error("invalid_request", text)
    return replace(request, context=launch.context, launched=True, launch_account=launch.account)


def _reply(smart: Smart, origin: str, request: RequestRow) -> _Reply:
    return _Reply(request.redirect_uri, request.state, smart.issuer(origin))


async def refuse(smart: Smart, origin: str, request: RequestRow, error: str, description: str) -> str:
    """End the request with an error; the address the browser goes to."""
    await authorizations.close_request(smart.lane, request.id, smart.clock())
    return _reply(smart, origin, request).error(error, description).location


async def allow(
    smart: Smart, origin: str, request: RequestRow, session: Session, scopes: Sequence[str]
) -> str | None:
    """End the request with a code for ``scopes``; the address the browser goes to. None: it was answered already."""
    now = smart.clock()
    account = session.account
    code = CodeRow(
        client=request.client,
        redirect_uri=request.redirect_uri,
        challenge=request.challenge,
        grant=new_handle(),
        account=account.id,
        fhir_user=account.fhir_user,
        role=account.role,
        scope=" ".join(scopes),
        context=context_for(request.context, scopes),
        nonce=request.nonce,
        session=session.id,
        reason=session.reason,
        reason_until=session.reason_until,
        signed_in=session.created,
    )
    async with smart.lane.use() as connection, connection.raw.transaction():
        if await authorizations.finish_request(connection, request.id, session.id, now) is None:
            return None
        handle = await authorizations.add_code(connection, code, now)
    pairs = (("code", handle), ("state", request.state), ("iss", smart.issuer(origin)))
    return with_parameters(request.redirect_uri, pairs)


def context_for(context: Context, scopes: Sequence[str]) -> Context:
    """What of the context goes with ``scopes``: a patient or encounter that was not allowed is not told."""
    launch = "launch" in scopes
    patient = launch or any(word == "launch/patient" or word.startswith("patient/") for word in scopes)
    return Context(
        patient=context.patient if patient else None,
        encounter=context.encounter if launch or "launch/encounter" in scopes else None,
        fhir_context=context.fhir_context if launch else (),
        need_patient_banner=context.need_patient_banner,
        intent=context.intent if launch else None,
    )

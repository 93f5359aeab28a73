"""One interaction as plain values: nothing of the web framework goes further in than this."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

REQUEST_ID: ContextVar[str] = ContextVar("REQUEST_ID", default="")
"""``X-Request-Id`` of the request that a page or an endpoint of the authorization server is answering."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """The ``Prefer`` header (https://hl7.org/fhir/R4/http.html#ops)."""

    returns: str = "representation"
    """``minimal``, ``representation`` or ``OperationOutcome``."""
    lenient: bool = False
    """``handling=lenient``: ignore what is not understood, and say so."""
    respond_async: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in the words of the audit trail; empty where there is nothing to say."""

    user: str = ""
    """Username."""
    fhir_user: str = ""
    """``Practitioner/1``: the resource that stands for the user."""
    role: str = ""
    client: str = ""
    """``client_id`` of the app."""
    client_name: str = ""
    grant: str = ""
    """Id of the server-side grant the token belongs to."""
    issuer: str = ""
    """Who vouches for the user: this server's issuer, or that of a trusted provider."""
    address: str = ""
    """Network address the request came from."""
    reason: str = ""
    """Why the glass was broken, when it was."""

    def __hash__(self) -> int:
        # Every row of the audit trail looks something up by this; the others follow from these.
        return hash((self.user, self.client, self.grant, self.address))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from."""

    base: str = ""
    """The service base that the caller used, without a trailing slash."""
    address: str = ""
    """The caller's network address."""
    request: str = ""
    """X-Request-Id, the caller's own or one made here."""
    is_told: bool = False
    """Whether ``base`` is the server's own, by its settings; else it is what the caller's ``Host`` says."""


@dataclass(frozen=True, slots=True)
class FhirRequest:
    """One interaction, named as in the CapabilityStatement (``read``, ``search-type``, …)."""

    interaction: str
    type: str | None = None
    id: str | None = None
    version: int | None = None
    parameters: tuple[tuple[str, str], ...] = ()
    """Query (and form body) parameters in order, percent-decoded."""
    body: bytes = b""
    """The resource as JSON bytes (XML has been turned into JSON at the border)."""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names; only those the interactions read (if-match, if-none-exist, …)."""
    prefer: Preferences = Preferences()
    base: str = ""
    """The service base the caller used, without a trailing slash: ``http://127.0.0.1:8080/fhir``."""
    operation: str | None = None


@dataclass(frozen=True, slots=True)
class FhirResult:
    """What an interaction answers: JSON bytes of one resource (or none) with status and headers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

"""Starting an app on a patient from here: the EHR launch.

https://hl7.org/fhir/smart-app-launch/app-launch.html#launch-app-ehr-launch. The URL carries our FHIR base and an opaque
handle: good once, for five minutes, for this client, and for the person who started it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fhirhub.errors import BadRequest, Issue, NotFound
from fhirhub.smart.address import fhir_base
from fhirhub.smart.context import Smart
from fhirhub.smart.demo import launch_url
from fhirhub.smart.redirects import with_parameters
from fhirhub.smart.storage.accounts import Account
from fhirhub.smart.storage.authorizations import Context, add_launch

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_REFERENCE = re.compile(r"[A-Z][A-Za-z]{1,63}/[A-Za-z0-9.-]{1,64}")
IN_CONTEXT = ("Patient/", "Encounter/")
"""What has a place of its own in the context, and none in fhirContext without a role."""


async def mint(smart: Smart, origin: str, client_id: str, account: Account, context: Context) -> str:
    """The URL that starts the app ``client_id`` for ``account`` on ``context``.

    ``origin``: where this server is, as the app reaches it. Raises NotFound and BadRequest.
    """
    client = await smart.clients.get(client_id)
    if client is None or not client.active:
        raise NotFound(Issue("not-found", f"There is no active client {client_id[:80]!r}.", "client"))
    start = launch_url(client, origin)
    if start is None:
        text = f"{client.name} has no launch URL; register it with --launch-url to start it from here."
        raise BadRequest(Issue("business-rule", text, "client"))
    if not account.active:
        raise BadRequest(Issue("business-rule", f"The account {account.username} is not active.", "user"))
    check(account, context)
    handle = await add_launch(smart.lane, client.id, account.id, context, smart.clock())
    return with_parameters(start, (("iss", fhir_base(origin)), ("launch", handle)))


def check(account: Account, context: Context) -> None:
    """Whether an app may be started for ``account`` on ``context``. Raises BadRequest."""
    for name, id in (("patient", context.patient), ("encounter", context.encounter)):
        if id is not None and not _ID.fullmatch(id):
            text = f"{name} {id[:80]!r} is no id: give the logical id alone, such as 'abc-1'."
            raise BadRequest(Issue("value", text, name))
    if account.role == "patient" and context.patient not in (None, account.patient):
        text = f"{account.username} is a patient and may start apps on their own record only."
        raise BadRequest(Issue("business-rule", text, "patient"))
    for one in context.fhir_context:
        _check_reference(one)


def _check_reference(one: Mapping[str, Any]) -> None:
    reference, role = one.get("reference"), one.get("role")
    if not isinstance(reference, str) or not _REFERENCE.fullmatch(reference):
        text = f"fhirContext {str(reference)[:80]!r} is no reference such as ImagingStudy/1."
        raise BadRequest(Issue("value", text, "fhirContext"))
    if reference.startswith(IN_CONTEXT) and role in (None, "launch"):
        text = (
            f"fhirContext {reference}: patient and encounter have places of their own, or take another role."
        )
        raise BadRequest(Issue("value", text, "fhirContext"))

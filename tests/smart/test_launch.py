"""Starting an app from here, on a patient: SMART row 6, https://hl7.org/fhir/smart-app-launch/app-launch.html."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from fhirhub.errors import BadRequest, NotFound
from fhirhub.smart.launch import mint
from fhirhub.smart.storage import authorizations
from fhirhub.smart.storage.authorizations import Context, digest
from support.flow import AUD, ORIGIN, Browser, answer_of, asking, forms, gives_nothing
from support.flow_rig import Rig

SCOPE = "launch openid fhirUser patient/Observation.rs"


async def _start(rig: Rig, context: Context) -> tuple[str, str]:
    """The launch handle and the ``iss`` that the app is opened with."""
    url = await mint(rig.smart, ORIGIN, rig.web.id, rig.doctor, context)
    assert url.startswith("https://app.example/launch?")
    query = parse_qs(urlsplit(url).query)
    assert sorted(query) == ["iss", "launch"]
    return query["launch"][0], query["iss"][0]


async def test_ehr_launch_with_patient_encounter_and_more(rig: Rig) -> None:
    more = ({"reference": "ImagingStudy/i1"}, {"reference": "List/l1", "role": "https://example.org/role"})
    context = Context("p1", "e1", more, False, "reconcile-medications")
    handle, iss = await _start(rig, context)
    assert iss == AUD
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.doctor)
        asked = asking(rig.web.id, rig.web_uri, SCOPE, launch=handle, aud=iss)
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        assert "Ada Adams" in page.text, "no picker: the launch says who it is"
        told = answer_of(await browser.press(page, "Allow"))
        row = await authorizations.take_code(rig.smart.lane, digest(told["code"]), rig.clock())
        assert row is not None and row.context == context
        # The handle is spent.
        again = await browser.get("/auth/authorize", params=asked)
        assert answer_of(again)["error"] == "invalid_request"


async def test_a_launch_is_for_who_started_it(rig: Rig) -> None:
    handle, _ = await _start(rig, Context("p1"))
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.other_patient)
        asked = asking(rig.web.id, rig.web_uri, SCOPE, launch=handle)
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        assert page.status_code == 403 and gives_nothing(page) and "Somebody else" in page.text


async def test_a_launch_on_a_patient_one_may_not_see(rig: Rig) -> None:
    handle, _ = await _start(rig, Context("p3"))
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.doctor)
        asked = asking(rig.web.id, rig.web_uri, SCOPE, launch=handle)
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        assert page.status_code == 403 and gives_nothing(page) and "Hidden Hugo" not in page.text


async def test_an_answer_to_a_page_one_was_not_shown(rig: Rig) -> None:
    """Whoever may not see the patient gets no code by sending the form of the page that would not come."""
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.doctor)
        asked = asking(rig.web.id, rig.web_uri, "openid")
        shown = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        handle, _ = await _start(rig, Context("p3"))
        asked = asking(rig.web.id, rig.web_uri, SCOPE, launch=handle)
        kept = await browser.get("/auth/authorize", params=asked)
        id_ = kept.headers["location"].partition("=")[2]
        answer = await browser.press(shown, "Allow", request=[id_], scope=["patient/Observation.rs"])
        assert answer.status_code == 403 and gives_nothing(answer)


async def test_a_launch_without_a_handle_is_standalone(rig: Rig) -> None:
    """The scope ``launch`` means nothing then, and a patient is chosen as ever."""
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.doctor)
        asked = asking(rig.web.id, rig.web_uri, f"{SCOPE} launch/encounter")
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        assert "Find patient" in page.text
        id_ = forms(page)[1].fields["request"][0]
        row = await authorizations.find_request(rig.smart.lane, id_, rig.clock())
        assert row is not None and row.scope == "openid fhirUser patient/Observation.rs"


async def test_the_context_goes_only_with_its_scope(rig: Rig) -> None:
    handle, _ = await _start(rig, Context("p1", "e1", ({"reference": "ImagingStudy/i1"},), True, "x"))
    async with Browser(rig.app) as browser:
        await browser.sign_in(rig.smart, rig.doctor)
        asked = asking(rig.web.id, rig.web_uri, SCOPE, launch=handle)
        page = await browser.arrive(await browser.get("/auth/authorize", params=asked))
        told = answer_of(await browser.press(page, "Allow", scope=["patient/Observation.rs"]))
        row = await authorizations.take_code(rig.smart.lane, digest(told["code"]), rig.clock())
    assert row is not None
    assert row.context == Context(patient="p1", need_patient_banner=True)


@pytest.mark.parametrize(
    "context",
    [
        Context("Patient/p1"), Context(""), Context("a b"), Context("x" * 65), Context("p1", "../e"), Context("p1\n"),
        Context("p1", None, ({"reference": "Patient/p1"},)), Context("p1", None, ({"reference": "nonsense"},)),
        Context("p1", None, ({},)), Context("p1", None, ({"reference": "Encounter/e1", "role": "launch"},)),
    ],
)  # fmt: skip
async def test_contexts_that_are_none(rig: Rig, context: Context) -> None:
    with pytest.raises(BadRequest):
        await mint(rig.smart, ORIGIN, rig.web.id, rig.doctor, context)


async def test_apps_that_cannot_be_started(rig: Rig) -> None:
    for client in ("nobody", rig.ended.id):
        with pytest.raises(NotFound):
            await mint(rig.smart, ORIGIN, client, rig.doctor, Context("p1"))
    with pytest.raises(BadRequest, match="--launch-url"):
        await mint(rig.smart, ORIGIN, rig.native.id, rig.doctor, Context("p1"))
    with pytest.raises(BadRequest, match="own record"):
        await mint(rig.smart, ORIGIN, rig.web.id, rig.patient, Context("p2"))

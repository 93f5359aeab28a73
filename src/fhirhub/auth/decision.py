"""One grant, one action, one type: the condition under which a resource is within reach."""

from __future__ import annotations

from fhirhub.auth.denial import Withheld
from fhirhub.auth.grant import Grant
from fhirhub.auth.logic import every, some
from fhirhub.auth.policy import Elements, Label, PolicyError, Role
from fhirhub.auth.rules import Rules, patient_of, placeholders
from fhirhub.auth.scope import Scope
from fhirhub.search.predicate import Predicate
from fhirhub.search.sight import ALL, NAME, NONE, REFER

_NOTHING = Role("nothing")
"""A policy without rules."""
_REFERRING = frozenset("cu")
"""Who may write one of these needs to refer to others."""


class Decision:
    """What ``grant`` may touch, of which ``scopes`` count, and from which ``withheld`` is kept."""

    def __init__(self, grant: Grant, scopes: tuple[Scope, ...], rules: Rules, withheld: Withheld) -> None:
        self._grant = grant
        self._scopes = scopes
        self._rules = rules
        self._withheld = withheld
        self._levels = tuple(dict.fromkeys(scope.level for scope in scopes))
        self._own = patient_of(grant.fhir_user)
        self._roles = self._policies()
        self._labels = self._closed()
        patient = self._own if grant.role == "patient" else grant.patient
        self._filled = placeholders(grant.fhir_user, patient)

    @property
    def confined(self) -> tuple[str, ...]:
        """The patients that everything is confined to; () for no such bounds."""
        if self._grant.kind == "user" and self._grant.role == "patient":
            return (self._own,) if self._own else ()
        if self._levels == ("patient",) and self._grant.patient:
            return (self._grant.patient,)
        return ()

    @property
    def hidden(self) -> Elements:
        """Elements that any of the policies hides."""
        found: dict[str, frozenset[str]] = {}
        for role in self._roles:
            for type, names in role.hidden.items():
                found[type] = found.get(type, frozenset()) | names
        return found

    @property
    def writable(self) -> Elements:
        """Elements that all of the policies let be changed, for types of which any of them names some."""
        found: dict[str, frozenset[str]] = {}
        for role in self._roles:
            for type, names in role.writable.items():
                found[type] = found.get(type, names) & names
        return found

    def of(self, letter: str, type: str) -> Predicate:
        """The condition on resources of ``type`` for the action ``letter``; NONE where nothing allows it."""
        if letter == NAME:
            return ALL if self._allowed("u", type) == ALL else NONE
        allowed = self._allowed(letter, type)
        if allowed == NONE:
            return NONE
        if letter == REFER or type in self._rules.policies.recorded:
            # That there is something may be known of what one must not see: new data about a patient who has denied
            # access can still be handed in, and most writes need not look up what they refer to.
            return allowed
        # To label what one hands in is everybody's right; to see it afterwards is not.
        labels = ALL if letter == "c" else self._rules.of_labels(self._labels, type)
        return every((allowed, labels, self._withheld.outside(letter, type)))

    def _allowed(self, letter: str, type: str) -> Predicate:
        """What scopes and policies allow, whatever labels and consents say."""
        parts = [self._granted(letter, type)]
        if parts[0] != NONE:
            own, filled = self._own, self._filled
            parts += [self._rules.of_role(role, letter, type, own, filled) for role in self._roles]
        return every(parts)

    def _granted(self, letter: str, type: str) -> Predicate:
        """What the scopes allow."""
        found: list[Predicate] = []
        for level in self._levels:
            own = [scope for scope in self._scopes if scope.level == level]
            if letter == REFER:
                asked = some([every(()) for scope in own if not _REFERRING.isdisjoint(scope.letters)])
            else:
                named = [scope for scope in own if letter in scope.letters and scope.names(type)]
                asked = some([self._rules.criteria.reach(scope, type) for scope in named])
            if asked != NONE:
                found.append(every((self._rules.of_level(level, letter, type, self._grant.patient), asked)))
        return some(found)

    def _policies(self) -> tuple[Role, ...]:
        """All of them have to allow what is done."""
        grant, policies = self._grant, self._rules.policies
        try:
            client = policies.client(grant.client_policy)
        except PolicyError:
            # Refused when it was given; should one get here all the same, it opens nothing.
            client = _NOTHING
        found = () if client is None else (client,)
        if grant.kind == "system":
            return found
        return (policies.roles.get(grant.role or "", _NOTHING), *found)

    def _closed(self) -> tuple[Label, ...]:
        """The labels that the caller may not see."""
        grant = self._grant
        who = "system" if grant.kind == "system" else grant.role or ""
        waived = self._roles[0].labels if grant.kind == "system" and self._roles else frozenset()

        def is_open(label: Label) -> bool:
            broken = bool(grant.reason) and who in label.glass
            return who in label.roles or broken or bool({label.name, "*"} & waived)

        return tuple(label for label in self._rules.policies.labels if not is_open(label))

"""What users may configure by the right *configure*: scripts, by the flows whose steps run them."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from flows.access.rights import flows_with, rights_by_flow
from flows.models import FlowVersion, Right, Step
from scripts.extensions import ScriptRights
from scripts.models import Script

CONFIGURE = frozenset({Right.CONFIGURE.value})


def script_rights(user: Any) -> ScriptRights:
    """Return the rights to scripts: seen in one of the flows, changed if in no other flow."""
    rights = rights_by_flow(user)
    if rights[None] & CONFIGURE:
        return ScriptRights(has_all=True)
    flows = flows_with(rights, CONFIGURE)
    if not flows:
        return ScriptRights()
    seen = set(Step.objects.filter(flow__in=flows).values_list("script", flat=True))
    elsewhere = Step.objects.filter(script__in=seen).exclude(flow__in=flows)
    shared = elsewhere.values_list("script", flat=True)
    return ScriptRights(seen=frozenset(seen), shared=frozenset(shared))


def scripts_to_choose(user: Any) -> QuerySet[Script]:
    """Return the scripts that the user may put into a step of a flow.

    A user who configures some flows chooses from their scripts: another script may read secrets or
    act outside on behalf of a flow that is not theirs.
    """
    if user.has_perm("flows.change_flow") or user.has_perm("flows.add_flow"):
        return Script.objects.all()
    rights = script_rights(user)
    return Script.objects.filter(Q() if rights.has_all else Q(pk__in=rights.seen))


def scripts_out_of_reach(user: Any, version: FlowVersion) -> int:
    """Count the scripts of an old version of a flow that the user may not put into a step."""
    scripts = version.steps.values_list("script_version__script", flat=True)
    wanted = {pk for pk in scripts if pk is not None}
    return len(wanted) - scripts_to_choose(user).filter(pk__in=wanted).count()

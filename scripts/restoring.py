"""Goes back to an earlier version of a script."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction

from scripts.faults import script_faults
from scripts.models import Library, Script, ScriptVersion


def restore(version: ScriptVersion) -> ScriptVersion:
    """Make the content of a version the script's own again, and return the version that it became.

    Versions keep the code of their libraries; the script gets those libraries as they are now.
    Raises ValidationError where one is gone, or what a version holds would be refused today, and
    Script.DoesNotExist.
    """
    if version.script_id is None:
        raise Script.DoesNotExist
    libraries = [(each.name, each.code) for each in _libraries(version)]
    # Before the transaction, for that can take seconds.
    if faults := script_faults(version.language, version.code, libraries):
        raise ValidationError([str(fault) for fault in faults])
    return _restored(version, version.script_id)


@transaction.atomic
def _restored(version: ScriptVersion, script_id: int) -> ScriptVersion:
    script = Script.objects.select_for_update().get(pk=script_id)
    for name in script.CONTENT_FIELDS:
        setattr(script, name, getattr(version, name))
    script.libraries = _libraries(version)
    script.full_clean()
    script.save()
    return script.current_version


def _libraries(version: ScriptVersion) -> list[Library]:
    names = [library["name"] for library in version.libraries]
    present = {library.name: library for library in Library.objects.filter(name__in=names)}
    if gone := [name for name in names if name not in present]:
        raise ValidationError(f"Libraries that are gone: {', '.join(gone)}.")
    return [present[name] for name in names]

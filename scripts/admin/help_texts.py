"""What a page says of fields whose model says nothing. Migrations do not read it."""

from __future__ import annotations

from typing import Any

CODE = "Saved only if it can be read and has what the engine calls. A save makes a new version."
# By the model and the field.
HELP_TEXTS = {
    ("script", "language"): "Which sandbox runs it. It stays when the code is changed.",
    ("script", "memory_mb"): "Most memory of one call, in MB; beyond it the call fails.",
    ("library", "language"): "Scripts of the same language may use it.",
    ("rolemapping", "role"): "Each user who has the role gets the right.",
    ("rolemapping", "right"): "Start: start runs, and see those that one has started. Watch: see"
    " all runs. Operate: cancel, pause and reprocess, too. Configure: change steps, scripts and"
    " queues.",
    ("group", "name"): "Unique; a role stands for a task, such as support or shop.",
    ("user", "first_name"): "Shown in the Configuration Manager beside the user name.",
    ("user", "last_name"): "Shown in the Configuration Manager beside the user name.",
    ("user", "email"): "Where your project's own mails to the user go; the engine sends none.",
}


def with_help(db_field: Any, form_field: Any) -> Any:
    """Give a form field its help, where the model has none. Return the form field."""
    if form_field is not None and not form_field.help_text:
        key = (db_field.model._meta.model_name, db_field.name)
        form_field.help_text = HELP_TEXTS.get(key, "")
    return form_field

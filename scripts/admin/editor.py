"""The code editor: a text area that a browser with JavaScript turns into Ace."""

from __future__ import annotations

from typing import Any

from django import forms

from scripts.admin.json_fields import CodeWidget


class EditorWidget(CodeWidget):
    """Edits code in a language: a mode of Ace, or the language that a select field has."""

    class Media:
        css = {"screen": ("scripts/editor.css",)}
        # django-ace has Ace, which loads its modes and themes from its own folder.
        js = ("django_ace/ace/ace.js", "scripts/editor.js")

    def __init__(self, mode: str = "python", mode_from: str = "", rows: int = 28) -> None:
        super().__init__(rows=rows)
        self.attrs |= {"data-editor": mode}
        if mode_from:
            self.attrs["data-mode-from"] = mode_from


class CodeField(forms.CharField):
    """Code, kept as written. A browser sends other line ends, which would be a change."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strip=False, **kwargs)

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        return text.replace("\r\n", "\n") if text.strip() else ""

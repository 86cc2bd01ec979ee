"""The code editor: a text area that a browser with JavaScript turns into Ace."""

from __future__ import annotations

from typing import Any

from django import forms

from scripts.admin.json_fields import CodeWidget


class EditorWidget(CodeWidget):
    """Edits code in a language: one of Ace's modes, or that which a select field names."""

    class Media:
        css = {"screen": ("scripts/editor.css",)}
        # Ace is vendored by django-ace and loads its modes and themes from beside itself.
        js = ("django_ace/ace/ace.js", "scripts/editor.js")

    def __init__(self, mode: str = "python", mode_from: str = "", rows: int = 28) -> None:
        super().__init__(rows=rows)
        self.attrs |= {"data-editor": mode}
        if mode_from:
            self.attrs["data-mode-from"] = mode_from


class CodeField(forms.CharField):
    """Code, kept as it is written: a browser sends other line ends, which would be a change."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strip=False, **kwargs)

    def to_python(self, value: Any) -> str:
        text = super().to_python(value) or ""
        return text.replace("\r\n", "\n") if text.strip() else ""

from scripts.models.ids import unrepeatable_id
from scripts.models.language import Language
from scripts.models.library import Library
from scripts.models.script import LibraryUse, Script, ScriptContent, ScriptVersion
from scripts.models.secret import Secret

__all__ = [
    "Language",
    "Library",
    "LibraryUse",
    "Script",
    "ScriptContent",
    "ScriptVersion",
    "Secret",
    "unrepeatable_id",
]

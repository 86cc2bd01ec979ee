from scripts.models.configuration_value import ConfigurationValue
from scripts.models.ids import unrepeatable_id, with_next_number
from scripts.models.language import Language
from scripts.models.library import Library
from scripts.models.script import LibraryUse, Script
from scripts.models.script_content import ScriptContent
from scripts.models.script_version import ScriptVersion
from scripts.models.secret import Secret
from scripts.models.trial_record import TrialRecord

__all__ = [
    "ConfigurationValue",
    "Language",
    "Library",
    "LibraryUse",
    "Script",
    "ScriptContent",
    "ScriptVersion",
    "Secret",
    "TrialRecord",
    "unrepeatable_id",
    "with_next_number",
]

from scripts.models.configuration_value import ConfigurationValue
from scripts.models.ids import unrepeatable_id, with_next_number
from scripts.models.language import Language
from scripts.models.library import Library
from scripts.models.reference_table import (
    ReferenceTable,
    TableContent,
    TablePiece,
    TableVersion,
)
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
    "ReferenceTable",
    "Script",
    "ScriptContent",
    "ScriptVersion",
    "Secret",
    "TableContent",
    "TablePiece",
    "TableVersion",
    "TrialRecord",
    "unrepeatable_id",
    "with_next_number",
]

from scripts.admin import rendering
from scripts.admin.libraries import LibraryAdmin
from scripts.admin.scripts import ScriptAdmin
from scripts.admin.secrets import SecretAdmin
from scripts.admin.tables import ReferenceTableAdmin, TableVersionAdmin
from scripts.admin.trials import TrialRecordAdmin
from scripts.admin.values import ConfigurationValueAdmin
from scripts.admin.versions import ScriptVersionAdmin

rendering.install()

__all__ = [
    "ConfigurationValueAdmin",
    "LibraryAdmin",
    "ReferenceTableAdmin",
    "ScriptAdmin",
    "ScriptVersionAdmin",
    "SecretAdmin",
    "TableVersionAdmin",
    "TrialRecordAdmin",
]

from scripts.admin.scripts import ScriptAdmin
from scripts.admin.versions import ScriptVersionAdmin

__all__ = ["ScriptAdmin", "ScriptVersionAdmin"]

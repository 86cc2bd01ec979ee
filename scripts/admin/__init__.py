from scripts.admin.scripts import ScriptAdmin, ScriptVersionAdmin

__all__ = ["ScriptAdmin", "ScriptVersionAdmin"]

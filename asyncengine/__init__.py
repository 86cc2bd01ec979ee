from asyncengine.mounting import settings_for

__all__ = ["settings_for"]

"""What REST framework takes from the settings, for the views of the engine.

Where the engine is mounted in a project, REST_FRAMEWORK, REST_KNOX and SPECTACULAR_SETTINGS are for
the project's own views. The engine's are ASYNCENGINE_REST_FRAMEWORK and
ASYNCENGINE_SPECTACULAR_SETTINGS then.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import get_script_prefix
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.settings import patched_settings
from rest_framework.settings import DEFAULTS, IMPORT_STRINGS, APISettings
from rest_framework.settings import api_settings as of_project
from rest_framework.views import APIView

_own = getattr(settings, "ASYNCENGINE_REST_FRAMEWORK", None)
api_settings: Any = APISettings(_own, DEFAULTS, IMPORT_STRINGS) if _own else of_project


class EngineView(APIView):
    """Base of all views: theirs is what APIView takes from the project's settings elsewhere."""

    settings = api_settings
    authentication_classes = api_settings.DEFAULT_AUTHENTICATION_CLASSES
    permission_classes = api_settings.DEFAULT_PERMISSION_CLASSES
    parser_classes = api_settings.DEFAULT_PARSER_CLASSES
    renderer_classes = api_settings.DEFAULT_RENDERER_CLASSES
    throttle_classes = api_settings.DEFAULT_THROTTLE_CLASSES
    versioning_class = api_settings.DEFAULT_VERSIONING_CLASS
    metadata_class = api_settings.DEFAULT_METADATA_CLASS
    schema = AutoSchema()


def specified() -> Any:
    """Return a context in which drf-spectacular has the engine's settings."""
    own = getattr(settings, "ASYNCENGINE_SPECTACULAR_SETTINGS", None)
    if own and not settings.ASYNCENGINE_URL:
        # The paths of the document begin where the project includes the engine.
        own = own | {"SERVERS": [{"url": get_script_prefix().rstrip("/")}]}
    return patched_settings(own)

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
try:
    application = get_wsgi_application()
except ImproperlyConfigured as error:
    # As `manage.py` does: a line with what to do, and no traceback of the server around it.
    sys.exit(f"{error}")

# Imported late: Django must be set up before its request class can be imported.
from flows.front.request import Utf8Request

application.request_class = Utf8Request

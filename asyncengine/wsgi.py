import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
application = get_wsgi_application()

# Imported late: Django must be set up before its request class can be imported.
from flows.front.request import Utf8Request  # noqa: E402

application.request_class = Utf8Request

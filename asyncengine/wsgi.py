import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
application = get_wsgi_application()

# It is a subclass of Django's, which can be imported from here on.
from flows.front.request import Request  # noqa: E402

application.request_class = Request

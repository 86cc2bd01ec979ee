import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
wsgi = get_wsgi_application()

# It reads settings and models, so that Django has to be set up first.
from flows.front.application import Front  # noqa: E402

application = Front(wsgi)

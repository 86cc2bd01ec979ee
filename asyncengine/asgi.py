from asyncengine.wsgi import application as wsgi
from flows.api.errors import answer_to
from flows.api.events import check
from flows.api.start_groups import QuickStarts
from flows.front.application import Front

application = Front(wsgi, answer_to, quick=QuickStarts(), check=check)

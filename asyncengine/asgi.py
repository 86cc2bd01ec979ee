from asyncengine.wsgi import application as wsgi
from flows.api.errors import answer_to
from flows.front.application import Front

application = Front(wsgi, answer_to)

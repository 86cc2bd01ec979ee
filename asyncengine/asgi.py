from asyncengine.wsgi import application as wsgi
from flows.front.application import Front

application = Front(wsgi)

"""The front of the web server: it takes requests in without threads, Django answers them in some.

A thread is given to a request only when its body is there, and is given back before the answer is
sent. So a caller that sends slowly, reads slowly, waits or has gone holds a connection and no more.
"""

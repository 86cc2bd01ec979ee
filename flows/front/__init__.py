"""The front of the web server: it receives requests without threads, and Django answers in threads.

A request gets a thread only when its body is there, and gives it back before the answer is sent. So
a caller that sends slowly, reads slowly, waits or has gone holds a connection and no more.
"""

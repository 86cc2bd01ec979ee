"""The process in which a script runs, in a sandbox. Nothing in here knows Django.

zygote ─► sandbox ─► host ─► languages       forked, closed, then it runs one script's messages
"""

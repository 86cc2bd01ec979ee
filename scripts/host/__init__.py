"""The process in which a script runs, sealed off. Nothing in here knows Django.

zygote ─► seal ─► host ─► languages       forked, closed, then it runs one script's messages
"""

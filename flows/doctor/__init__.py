"""What is wrong with an installation, for `manage.py doctor`.

findings     one thing that was examined: its name, its state, what was seen, what to do
examination  all of them, in the order in which they are shown
database     what the database is, and whether it fits
postgresql   settings, sessions, vacuum and write-ahead log of PostgreSQL
sqlite       the file of SQLite
clocks       this machine's clock and those of other clusters, by the database's
keys         the keys, and what they do not decrypt
machine      limits, memory and disk of this machine
hosts        whether scripts run here
"""

"""Alerts: what home's rules find is told to targets, once, in groups, and when it has ended.

following   alerts begin and end as the rules find them
notices     what a target is to be told now
messages    the text of a message
sending     one message to one address, by Apprise
delivering  each target gets its message, from one process
"""

"""The events of runs, made from what commits store: nothing is written for those who follow them.

`settled` finds up to where the rows are complete, `selection` says whose events a stream has, and
`page` makes events of the rows.
"""

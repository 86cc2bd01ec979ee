"""Webhooks: receivers are told the ends of runs, signed as Standard Webhooks has it.

What is to be told is stored with the end of the run, see `flows/store/telling.py`.

    sender      takes what is due and sends it, some at a time
    attempt     one attempt: what is sent, and what becomes of the delivery
    exchange    the HTTP request, to a checked address and within limits
    signature   the headers that let the receiver trust it
    secrets     the secret of a flow, and how it is replaced
    retries     when the next attempt is
    replaying   an operator has it sent again
    turning     the webhook of a flow goes off, and on again
    shown       how an address is shown
"""

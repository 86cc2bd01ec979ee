"""What runs in the processes of a cluster: the broker, the workers and their sessions.

Beside `flows.tasks` and their pages of the admin, this room alone imports `django_q`.
"""

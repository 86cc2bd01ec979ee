"""What a Django project may react to. Both are sent after the commit, in the process that made it.

That is a worker, and for a cancelled run the process in which it was cancelled. A receiver that
raises is logged and harms nothing; one that is slow keeps its worker, so let it start a run or a
task for what takes long. They are sent at most once: a process killed after the commit sends none.
"""

from django.dispatch import Signal

# With correlation_id (UUID), flow_name and status: COMPLETED, FAILED or CANCELLED.
run_finished = Signal()

# With dead_letter_id (int), correlation_id (UUID), flow_name, step_name and reason.
dead_letter_made = Signal()

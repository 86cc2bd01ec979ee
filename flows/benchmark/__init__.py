"""The workloads of `manage.py bench`. They make the rows they need and delete them again.

Nothing is imported here: workers import the package for the task of one workload alone.
"""

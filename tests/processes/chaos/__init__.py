"""A seeded runner of faults: the whole product under load while its parts are killed.

`python -m tests.processes.chaos --faults 60 --runs 400 --seed 7` prints what it did, when, and one
line of verdict. Real processes on the loopback only, all of them gone at the end.
"""

"""`--workers`: a process that serves nobody itself, and keeps those that do.

The supervisor binds the listening sockets and starts a zygote, a fresh interpreter that imports everything and then
forks a worker whenever it is asked for one. Workers are children of the supervisor: the zygote may die, or be replaced
by one that has newer code, and nobody notices.
"""

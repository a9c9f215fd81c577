"""Linux system calls that Python lacks: thin, typed, checked, sourced.

The only place in Creche that uses ctypes.
"""

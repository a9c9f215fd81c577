"""Linux system calls that Python lacks: thin, typed, checked, sourced. The only ctypes in Creche."""

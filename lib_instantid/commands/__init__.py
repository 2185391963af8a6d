"""The commands of `python -m lib_instantid`, one module each."""

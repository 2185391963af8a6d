"""Writes small random weights of the real layout, with which everything runs but no likeness appears."""

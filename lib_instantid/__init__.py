"""InstantID: one photo of a face, and every picture is of that person."""

__version__ = "0.1.0"

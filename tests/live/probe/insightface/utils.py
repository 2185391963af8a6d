"""Imported by Forge, used for other adapters than InstantID's."""

face_align = None

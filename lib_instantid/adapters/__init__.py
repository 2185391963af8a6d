"""Systems that condition a picture. Each has a folder with its settings, its weight files and the code that makes parts."""

from __future__ import annotations

from lib_instantid.adapters import controlnet, faceid, instantid, ip_adapter

FAMILIES = (instantid.FAMILY, faceid.FAMILY, ip_adapter.FAMILY, controlnet.FAMILY)
"""Every system. Panel, API and command line offer the settings of these."""

SYSTEM_FILES = tuple(family.files for family in FAMILIES)
SEVERAL = tuple(role for files in SYSTEM_FILES if files.several for role in files.roles)
"""The roles of which one generation may use several files."""

LOADERS = {role: load for files in SYSTEM_FILES for role, load in files.load.items()}
"""For each role, the function that makes a network of a file's path."""

ROLES = tuple(LOADERS)
"""The roles of all weight files."""

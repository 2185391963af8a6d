"""Stands in for the package insightface, for Forge, which keeps extensions importable: a red square is a face."""

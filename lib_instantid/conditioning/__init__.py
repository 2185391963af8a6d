"""Lets parts of four kinds act in a UNet, attached by torch hooks."""

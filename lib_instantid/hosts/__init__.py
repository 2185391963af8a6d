"""Hosts attach a conditioning to a pipeline's model: one for diffusers, and one for each WebUI."""

"""Turns pictures into faces, identities and keypoint maps. Imports neither torch nor a WebUI."""

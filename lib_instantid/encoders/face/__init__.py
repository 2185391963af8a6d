"""Finds faces in photos, makes identities of faces and draws keypoint maps. Imports neither torch nor a WebUI."""

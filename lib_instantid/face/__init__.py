"""From a photo to a face, from faces to an identity, from five points to a keypoint map. No torch, no WebUI."""

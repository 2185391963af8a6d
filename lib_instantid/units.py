"""Every constant once, with its derivation."""

EMBEDDING_SIZE = 512
"""Numbers in a face embedding: the output of ArcFace (glintr100). Raw, never normalised: the resampler was trained on it."""

KEYPOINTS = 5
"""Left eye, right eye, nose, left and right mouth corner: left and right as the viewer sees them."""

LATENT_FACTOR = 8
"""Pixels per latent cell along each axis; the keypoint map is in pixels, IdentityNet's input in latent cells."""

LATENT_CHANNELS = 4
"""Of SDXL's latents. A UNet for inpainting takes a mask and the picture's latents besides."""

HEAD_SIZE = 64
"""Width of one attention head in SDXL's UNet, IdentityNet and the resampler; a narrower layer has one head."""

KEYPOINT_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
"""RGB, one per keypoint in the order of `KEYPOINTS`. Source: InstantID's `draw_kps`."""

LIMBS = ((0, 2), (1, 2), (3, 2), (4, 2))
"""Pairs of keypoints joined by a stick in the colour of the first one. Source: InstantID's `draw_kps`."""

LIMB_HALF_WIDTH = 4
LIMB_BRIGHTNESS = 0.6
KEYPOINT_RADIUS = 10
"""Pixels of the output, at every size. Source: InstantID's `draw_kps` (the stick width there is the ellipse's semi-axis)."""

MAX_PICTURE_PIXELS = 64_000_000
"""A larger picture is scaled down to this many pixels before anything else: a face in it is more than large enough."""

FACE_CROP = 112
"""Side of the aligned face that ArcFace (glintr100) sees, in pixels."""

MAX_PHOTOS = 16
"""Photos that make one identity. More do not make the mean better, and each costs an analysis."""

STRANGER_COSINE = 0.3
"""Photos of one person are above it and photos of different people below: ArcFace models tell people apart at a cosine of
about 0.2 to 0.35 (false accept rates of 1e-4 to 1e-6 on IJB-C)."""

RAW_NORM_MIN = 2.0
"""A raw embedding of a recognisable face has a norm of 10 to 30; a normalised one has 1. Between them lies this."""

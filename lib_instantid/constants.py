"""Constants that several packages share, each with its meaning and source."""

EMBEDDING_SIZE = 512
"""Numbers in a face embedding, the output of ArcFace (glintr100). Embeddings stay raw, because the resampler was trained on
raw ones, and are never normalised."""

KEYPOINTS = 5
"""Keypoints of a face: left eye, right eye, nose, left and right mouth corner, in this order. Left is the viewer's left."""

LATENT_FACTOR = 8
"""Pixels per latent cell along each axis. A ControlNet's hint is in pixels, its latents are in cells."""

LATENT_CHANNELS = 4
"""Channels of SD1.5's and SDXL's latents. An inpainting UNet takes more: a mask and the picture's latents follow them."""

HEAD_SIZE = 64
"""Numbers per attention head in SDXL's UNet and ControlNets and in the resampler; a narrower layer has one head."""

SD15_HEADS = 8
"""Attention heads in every layer of SD1.5's UNet and ControlNets, whatever the layer's width."""

SD15_CONTEXT = 768
"""Numbers of a token of SD1.5's text."""

KEYPOINT_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
"""RGB from 0 to 255, one colour per keypoint in the order of `KEYPOINTS`. Source: InstantID's `draw_kps`."""

LIMBS = ((0, 2), (1, 2), (3, 2), (4, 2))
"""Pairs of keypoint indexes. A stick in the colour of the first keypoint joins each pair. Source: InstantID's `draw_kps`."""

LIMB_HALF_WIDTH = 4
LIMB_BRIGHTNESS = 0.6
KEYPOINT_RADIUS = 10
"""Half the width of a stick, the factor that darkens it, and the radius of a keypoint's disc. Both lengths are output pixels,
the same at every output size. Source: InstantID's `draw_kps` (its stick width is the semi-axis of an ellipse)."""

MAX_PICTURE_PIXELS = 64_000_000
"""A larger picture is scaled down to this many pixels when it is read; a face in it is still large enough."""

FACE_CROP = 112
"""Side of the square crop of an aligned face that ArcFace (glintr100) takes, in pixels."""

SEEN_CROP = 224
"""Side of the aligned face that FaceID Plus sees, in pixels. Source: IP-Adapter, ip_adapter-faceid_demo, `norm_crop`."""

MAX_PEOPLE = 4
"""The most people in one picture. Each has a colour in the panel and a region of the picture."""

MAX_PROMPTS, MAX_PICTURES = 4, 8
"""The most image prompts in one generation, and the most pictures of one."""

MAX_CONTROLS = 4
"""The most controls in one generation, each with a run of its ControlNet."""

MAX_PHOTOS = 16
"""The most photos of one identity. More would not improve the mean embedding, and each takes time to analyse."""

STRANGER_COSINE = 0.3
"""Embeddings of one person have a cosine above this, those of different people below. ArcFace models tell people apart at a
cosine of about 0.2 to 0.35 (false accept rates of 1e-4 to 1e-6 on IJB-C)."""

RAW_NORM_MIN = 2.0
"""An embedding with a smaller norm counts as normalised. The raw embedding of a recognisable face has a norm of 10 to 30, a
normalised one has 1."""

"""Reads photos, pose pictures and masks from files of any picture format into arrays."""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from lib_instantid.constants import MAX_PICTURE_PIXELS
from lib_instantid.encoders.face.faces import Floats, Picture
from lib_instantid.errors import PictureError

Source = Path | str | bytes | Image.Image
"""A path, a path as text, the bytes of a file, or a Pillow image."""

MAX_JPEG_PIXELS = 178_956_970
"""Pillow's own limit, which also holds here where a host has lifted it. It applies to JPEG only, which can be decoded at a
reduced size. Other files would be decoded in full before scaling, so their limit is `MAX_PICTURE_PIXELS`."""

MAX_JPEG_REDUCTION = 8
"""libjpeg decodes at 1/1, 1/2, 1/4 or 1/8 of the size."""

FULL_SCALES = (1.0, 255.0, 65535.0)
"""Possible values of white in pictures of floats: fractions, 8 bits or 16 bits. The first that is not below the picture's
largest value is used."""

ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
WHITE = (255, 255, 255)
BLACK = (0, 0, 0)

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands in the header of HEIC files, which phones save (ISO/IEC 23008-12). AVIF, which Pillow reads, has other brands."""

EXIF_ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that makes a picture upright, by its EXIF orientation (EXIF 2.3, tag 274). Orientation 1 is upright."""

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    AttributeError,
    MemoryError,
    struct.error,
)
"""The exceptions that Pillow's readers raise for damaged or unsupported files."""


def read_picture(source: Source, name: str = "photo") -> Picture:
    """Read a picture as people see it: upright, in colour, transparent parts white.

    source: a path, the bytes of a file, or a Pillow image, which is not changed. Of an animation, the first frame is read.
    name: the field that errors name.
    returns: (H, W, 3) uint8 RGB, at most `MAX_PICTURE_PIXELS` pixels. Larger JPEGs and Pillow images are scaled down; larger
    files of other formats are refused.
    raises PictureError: missing, a folder, empty, damaged, not a picture, or too large to open.
    """
    return _read(source, name, WHITE)


def read_mask(source: Source, name: str = "mask") -> Floats:
    """Read a mask: white is inside; black and transparent are outside.

    returns: (H, W) float32, the brightness from 0 to 1. Arguments and errors: see `read_picture`.
    """
    grey = Image.fromarray(_read(source, name, BLACK)).convert("L")
    return np.asarray(np.asarray(grey) / 255, dtype=np.float32)


def picture_size(source: Source, name: str = "photo") -> tuple[int, int]:
    """(width, height) of a picture in pixels, before turning it upright, read from the file's header. Arguments and errors:
    see `read_picture`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = source if isinstance(source, Image.Image) else Image.open(io.BytesIO(file_bytes(source, name)))
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name}: {error}.") from error
    except UNREADABLE as error:
        raise PictureError(f"{name}: {_describe(source)} is not a picture that can be read ({error}).") from error
    return image.size


def check_picture(picture: npt.NDArray[np.generic], name: str = "photo") -> None:
    """Raise PictureError unless picture is (H, W, 3) uint8 with at least one pixel."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
        found = f"{picture.shape} {picture.dtype}"
        raise PictureError(f"{name}: expected an array (height, width, 3) of uint8 in RGB, found {found}; use read_picture.")


def _read(source: Source, name: str, background: tuple[int, int, int]) -> Picture:
    what = _describe(source)
    try:
        with warnings.catch_warnings():  # our own limits decide; Pillow's warning would be needless
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = source if isinstance(source, Image.Image) else _open(file_bytes(source, name), name, what)
            image.load()
        if 0 in image.size:
            raise PictureError(f"{name}: {what} is {image.width} x {image.height} pixels; give a picture that is not empty.")
        rgb = _shrink(_rgb(image, background))
        return np.array(_turn(rgb, _orientation(image)))
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        raise _too_large(name, what, pixels.group() if pixels else "too many", MAX_JPEG_PIXELS) from error
    except UNREADABLE as error:
        raise PictureError(
            f"{name}: {what} is damaged, cut off or of an unsupported kind ({error or type(error).__name__}); "
            "save or download it again, as PNG or JPEG."
        ) from error


def _describe(source: object) -> str:
    if isinstance(source, (str, Path)):
        return str(source)
    if isinstance(source, Image.Image):
        return f"the given picture ({source.mode}, {source.width} x {source.height})"
    return "the given file" if isinstance(source, bytes) else f"the given {type(source).__name__}"


def file_bytes(source: Path | str | bytes, name: str) -> bytes:
    """The content of a picture file, undecoded. name: the field that errors name. Raises PictureError: missing, a folder,
    empty, not readable, or a web address."""
    if isinstance(source, bytes):
        content = source
    elif isinstance(source, (str, Path)):
        refuse_address(str(source), name)
        content = _file_content(Path(source), name)
    else:
        raise PictureError(f"{name}: expected a picture file, found {type(source).__name__}; give a path or a picture.")
    if not content:
        raise PictureError(f"{name}: {_describe(source)} is empty (0 bytes); save or download it again.")
    return content


def refuse_address(text: str, name: str) -> None:
    """Raise PictureError if the text is a web address instead of a path. name: the field that the error names."""
    if text.lower().startswith(("http://", "https://")):
        raise PictureError(f"{name}: {text:.200} is an address, and none is fetched; save the picture and give its file.")


def _file_content(path: Path, name: str) -> bytes:
    if path.is_dir():
        raise PictureError(f"{name}: {path} is a folder; give the path of a picture file in it.")
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PictureError(f"{name}: there is no file {path}; check the path.") from error
    except (OSError, ValueError) as error:
        raise PictureError(f"{name}: {path} cannot be read ({error}); check the path and its permissions.") from error


def _open(content: bytes, name: str, what: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        if content[4:8] == b"ftyp" and content[8:12] in HEIC_BRANDS:
            raise PictureError(f"{name}: {what} is a HEIC picture, which cannot be read; save it as JPEG or PNG.") from error
        raise PictureError(
            f"{name}: {what} is not a picture that can be read ({len(content)} bytes, beginning with {_shown(content[:8])}); "
            "use PNG, JPEG or WebP."
        ) from error
    width, height = image.size
    reduction = 1
    while width * height > MAX_PICTURE_PIXELS * reduction**2 and reduction < MAX_JPEG_REDUCTION:
        reduction *= 2
    image.draft(image.mode, (width // reduction, height // reduction))  # other formats than JPEG ignore this
    limit = MAX_JPEG_PIXELS if image.format == "JPEG" else MAX_PICTURE_PIXELS
    if width * height > limit:
        raise _too_large(name, what, f"{width} x {height}", limit)
    return image


def _shown(content: bytes) -> str:
    text = content.decode("ascii", "replace").strip()
    return f'"{text}"' if text.isprintable() and text.isascii() else content.hex(" ")


def _too_large(name: str, what: str, pixels: str, limit: int) -> PictureError:
    return PictureError(
        f"{name}: {what} has {pixels} pixels, the limit is {limit}; scale it down, "
        f"{MAX_PICTURE_PIXELS // 1_000_000} megapixels (8000 x 8000) are more than enough."
    )


def _rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _scaled_grey(image, FULL_SCALES[2:]).convert("RGB")
    if image.mode == "F":
        return _scaled_grey(image, FULL_SCALES).convert("RGB")
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        straight = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        canvas = Image.new("RGBA", straight.size, (*background, 255))
        return Image.alpha_composite(canvas, straight).convert("RGB")
    return image.convert("RGB")


def _scaled_grey(image: Image.Image, full_scales: tuple[float, ...]) -> Image.Image:
    values = np.nan_to_num(np.asarray(image).astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    brightest = float(values.max())
    white = next((scale for scale in full_scales if brightest <= scale), brightest)
    return Image.fromarray((np.clip(values / np.float32(white), 0, 1) * 255 + 0.5).astype(np.uint8))


def _shrink(image: Image.Image) -> Image.Image:
    excess = image.width * image.height / MAX_PICTURE_PIXELS
    if excess <= 1:
        return image
    size = (max(1, int(image.width / math.sqrt(excess))), max(1, int(image.height / math.sqrt(excess))))
    return image.resize(size, Image.Resampling.BOX)


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":
        return 1  # Pillow turns these itself when it loads them, and only newer versions drop the tag
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except UNREADABLE:
        return 1  # only the metadata is damaged; the picture itself was read


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image

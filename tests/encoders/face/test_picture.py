"""Every kind of file becomes the picture that people see."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lib_instantid.constants import MAX_PICTURE_PIXELS
from lib_instantid.encoders.face.picture import read_mask, read_picture
from lib_instantid.errors import PictureError

RAMP = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
GREY = np.repeat(RAMP[..., None], 3, axis=2)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG file that only says how large it is."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (head, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_path_a_text_bytes_and_a_pillow_picture_read_the_same(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (9, 7, 3)).astype(np.uint8))
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(image))
    for source in (path, str(path), path.read_bytes(), image):
        picture = read_picture(source)
        np.testing.assert_array_equal(picture, np.asarray(image))
        assert picture.dtype == np.uint8
        assert picture.flags.writeable


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "PA", "YCbCr", "HSV", "RGBX", "RGBa", "La"])
def test_grey_is_grey_in_every_eight_bit_mode(mode: str) -> None:
    through = {"RGBa": "RGBA", "La": "LA", "PA": "P", "HSV": "RGB"}
    image = Image.fromarray(RAMP)
    image = image.convert(through[mode]).convert(mode) if mode in through else image.convert(mode)
    np.testing.assert_allclose(read_picture(image).astype(int), GREY, atol=2)


def test_cmyk_is_read_as_the_colours_it_prints() -> None:
    bands = np.zeros((4, 4, 4), dtype=np.uint8)
    bands[:, :2, 1:3] = 255  # magenta and yellow make red
    bands[:, 2:, 3] = 255
    for source in (Image.fromarray(bands, "CMYK"), encoded(Image.fromarray(bands, "CMYK"), "TIFF")):
        picture = read_picture(source)
        assert picture[0, 0].tolist() == [255, 0, 0]
        assert picture[0, 3].tolist() == [0, 0, 0]


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(RAMP > 127)
    assert image.mode == "1"
    np.testing.assert_array_equal(read_picture(encoded(image)), (GREY > 127) * np.uint8(255))


@pytest.mark.parametrize("form", ["I;16", "I;16B", "I", "png", "tiff"])
def test_sixteen_bits_are_scaled_and_not_clipped(form: str) -> None:
    values = RAMP.astype(np.uint16) * 257
    image = Image.fromarray(values)
    source: bytes | Image.Image = image
    if form == "I":
        source = Image.fromarray(values.astype(np.int32))
        assert source.mode == "I"
    elif form == "I;16B":
        source = Image.frombytes("I;16B", image.size, values.astype(">u2").tobytes())
    elif form in ("png", "tiff"):
        source = encoded(image, form)
    np.testing.assert_array_equal(read_picture(source), GREY)


def test_a_dark_picture_of_sixteen_bits_stays_dark() -> None:
    values = RAMP.astype(np.uint16) * 64
    for image in (Image.fromarray(values), Image.fromarray(values.astype(np.int32))):
        np.testing.assert_allclose(read_picture(image), GREY * (64 / 257), atol=1)


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0, 1e6])
def test_floats_are_scaled_by_their_range(white: float) -> None:
    image = Image.fromarray((RAMP / 255 * white).astype(np.float32))
    assert image.mode == "F"
    np.testing.assert_allclose(read_picture(encoded(image, "TIFF")).astype(int), GREY, atol=1)


def test_numbers_that_are_none_are_black() -> None:
    values = (RAMP / 255).astype(np.float32)
    values[:, 128:] = np.nan
    assert not read_picture(Image.fromarray(values))[:, 128:].any()


def test_what_is_transparent_is_white_in_a_photo_and_black_in_a_mask() -> None:
    bands = np.zeros((4, 6, 4), dtype=np.uint8)
    bands[:, :2] = (10, 20, 30, 255)
    bands[:, 2:4] = (0, 0, 0, 128)
    picture = read_picture(encoded(Image.fromarray(bands)))
    assert picture[0, 0].tolist() == [10, 20, 30]
    assert picture[0, 2].tolist() == [127, 127, 127]
    assert picture[0, 5].tolist() == [255, 255, 255]
    assert read_mask(encoded(Image.fromarray(bands)))[0, 5] == 0


def test_a_palettes_transparent_colour_is_white() -> None:
    image = Image.fromarray(np.repeat(np.array([[0, 1]], dtype=np.uint8), 3, axis=0), "P")
    image.putpalette([200, 0, 0, 0, 200, 0])
    for kind in ("PNG", "GIF"):
        assert read_picture(encoded(image, kind, transparency=1))[0].tolist() == [[200, 0, 0], [255, 255, 255]]
        assert read_picture(encoded(image, kind))[0].tolist() == [[200, 0, 0], [0, 200, 0]]


def test_a_colour_that_stands_for_transparent_is_white() -> None:
    image = Image.fromarray(np.array([[[9, 9, 9], [1, 2, 3]]], dtype=np.uint8))
    assert read_picture(encoded(image, transparency=(1, 2, 3)))[0].tolist() == [[9, 9, 9], [255, 255, 255]]


def test_of_an_animation_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        source = encoded(
            frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
        )
        assert read_picture(source)[0, 0].tolist() == [255, 0, 0]


def test_a_jpeg_over_the_limit_is_decoded_at_half_its_size() -> None:
    source = encoded(Image.new("L", (9000, 8000), 77), "JPEG")
    picture = read_picture(source)
    assert picture.shape == (4000, 4500, 3)
    assert (picture == 77).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_any_other_file_over_the_limit_is_refused_by_its_header(kind: str) -> None:
    """It would be unpacked whole before it could be scaled down: 144 megapixels took 4 GB."""
    wide = encoded(Image.new("1", (40_000, 2_000)), kind)
    with pytest.raises(
        PictureError, match=rf"^photo: .* 40000 x 2000 pixels, the limit is {MAX_PICTURE_PIXELS}; scale it down"
    ):
        read_picture(wide[: len(wide) // 2])


def test_a_pillow_picture_over_the_limit_is_scaled_down_to_it() -> None:
    wide = Image.new("1", (40_000, 2_000))
    wide.paste(1, (20_000, 0, 40_000, 2_000))
    height, width = read_picture(wide)[..., 0].shape
    assert 0.99 * MAX_PICTURE_PIXELS < height * width <= MAX_PICTURE_PIXELS
    assert width / height == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize("address", ["http://example.org/a.png", "HTTPS://example.org/a"])
def test_an_address_is_not_fetched_and_that_is_said(address: str) -> None:
    with pytest.raises(PictureError, match=r"^photo: .*is an address, and none is fetched; save the picture"):
        read_picture(address)


@pytest.mark.parametrize("hosts_limit", [Image.MAX_IMAGE_PIXELS, None])
def test_a_picture_too_large_to_open_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, hosts_limit: int | None) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", hosts_limit)
    with pytest.raises(
        PictureError, match=r"^pose_picture: .* pixels, the limit is (178956970|64000000); scale it down"
    ) as caught:
        read_picture(png_header(30_000, 20_000), "pose_picture")
    assert "600000000" in str(caught.value) or "30000 x 20000" in str(caught.value)


def test_the_given_pillow_picture_is_left_as_it_is() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encoded(Image.new("RGB", (6, 4), "red"), "JPEG", exif=exif)))
    assert read_picture(image).shape == (6, 4, 3)
    assert image.size == (6, 4)
    assert image.getexif()[0x0112] == 6


def test_a_mask_is_the_brightness_from_zero_to_one() -> None:
    mask = read_mask(encoded(Image.fromarray(RAMP)))
    assert mask.dtype == np.float32
    np.testing.assert_allclose(mask, RAMP / 255, atol=1e-6)


WHOLE = {kind: encoded(Image.fromarray(GREY).resize((24, 16)), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own complaints about damaged TIFF tags
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 10_000), st.integers(0, 12), st.booleans())
@settings(max_examples=300, deadline=None, derandomize=True)  # some damages cost seconds
def test_a_damaged_file_is_a_picture_or_a_picture_error(kind: str, seed: int, faults: int, cut: bool) -> None:
    stream = np.random.RandomState(seed)
    content = bytearray(WHOLE[kind])
    for place in stream.randint(0, len(content), size=faults):
        content[place] = stream.randint(256)
    if cut:
        content = content[: stream.randint(len(content))]
    try:
        picture = read_picture(bytes(content))
    except PictureError:
        return
    assert picture.ndim == 3
    assert picture.shape[2] == 3

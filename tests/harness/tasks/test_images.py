"""Decoding: orientation, colour models, and files that are not what they claim."""

import io

import numpy as np
import pytest
from PIL import Image

from harness.errors import DataError
from harness.tasks.images import decode, decode_bytes, upright_size

ROTATED = 6  # EXIF: the stored rows are the columns of the upright image
EXIF_ORIENTATION = 0x0112


def photo(width=24, height=16):
    ramp = np.linspace(0, 255, width * height, dtype=np.uint8).reshape(height, width)
    return Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=2))


def test_turns_the_image_upright_as_its_exif_says(tmp_path):
    path, plain = tmp_path / "turned.png", photo()
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = ROTATED
    plain.save(path, exif=exif)
    upright = decode(path)
    assert upright.shape == (24, 16, 3)
    assert np.array_equal(upright, np.rot90(np.asarray(plain), k=-1))
    assert upright_size(path) == (16, 24)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "CMYK", "1"])
def test_gives_rgb_whatever_the_mode(tmp_path, mode):
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    stored = photo().convert(mode)
    stored.save(path)
    pixels = decode(path)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.asarray(stored.convert("RGB")))
    assert upright_size(path) == (24, 16)


def test_sixteen_bit_grey_keeps_its_high_byte(tmp_path):
    path = tmp_path / "deep.png"
    values = np.array([[0, 255, 256], [1000, 40000, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(path)
    assert np.array_equal(decode(path), np.repeat((values >> 8)[:, :, None], 3, axis=2))


def test_equals_opencv_on_a_jpeg(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = ROTATED
    photo(64, 48).save(path, quality=90, exif=exif)
    assert np.array_equal(decode(path), cv2.imread(str(path))[:, :, ::-1])


def stored_jpeg():
    buffer = io.BytesIO()
    photo(200, 200).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"this is no image", stored_jpeg()[:2000], b"\x89PNG\r\n\x1a\n" + b"\0" * 40],
    ids=["empty", "text", "truncated", "broken header"],
)
def test_an_unreadable_image_is_named(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.jpg") as caught:
        decode(path)
    assert caught.value.hint


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_bytes_in_memory_are_decoded_as_their_file_is(tmp_path, mode):
    path = tmp_path / "image.png"
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = ROTATED
    photo().convert(mode).save(path, exif=exif)
    assert np.array_equal(decode_bytes(path.read_bytes(), path), decode(path))


def test_unreadable_bytes_are_named_as_their_file(tmp_path):
    with pytest.raises(DataError, match=r"broken\.jpg: not a readable image"):
        decode_bytes(stored_jpeg()[:2000], tmp_path / "broken.jpg")


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.jpg: no such image"):
        decode(tmp_path / "absent.jpg")

"""Which files are taken for imagery, and what is said about the others."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from ground import encode, paint
from PIL import Image

from daemon.errors import ImageInvalid
from daemon.imagery.decode import decode, mask_nodata
from daemon.imagery.header import read_header
from daemon.imagery.layout import Layout

MOST = 4096 * 4096


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_lossless_files_give_their_pixels_in_red_green_blue():
    ground = paint(256)
    assert (decode(encode(ground), "a.png", max_pixels=MOST).pixels == ground).all()
    lossless = decode(encode(ground, ".webp", 101), "a.webp", max_pixels=MOST)
    assert (lossless.pixels == ground).all() and lossless.valid.all()


def test_jpeg_gives_nearly_its_pixels():
    ground = cv2.GaussianBlur(paint(256), (9, 9), 3)
    found = decode(encode(ground, ".jpg", 95), "a.jpg", max_pixels=MOST).pixels
    assert np.abs(found.astype(int) - ground).mean() < 3


def test_grey_becomes_rgb():
    grey = paint(256)[:, :, 0]
    for ending in (".png", ".jpg"):
        found = decode(encode(np.ascontiguousarray(grey), ending, 95), "grey", max_pixels=MOST).pixels
        assert found.shape == (256, 256, 3)
        assert (found[:, :, 0] == found[:, :, 2]).all()


def test_transparent_pixels_are_not_valid():
    rgba = np.dstack([paint(256), np.full((256, 256), 255, np.uint8)])
    rgba[:100, :, 3] = 0
    for ending in (".png", ".webp"):
        valid = decode(encode(rgba, ending, 101), "a", max_pixels=MOST).valid
        assert not valid[:100].any() and valid[100:].all()


def test_a_palette_with_a_transparent_colour_is_understood():
    palette = chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 50]))
    rows = b"".join(b"\0" + bytes([0] * 100 + [1] * 156) for _ in range(256))
    image = decode(png(256, 256, 8, 3, rows, palette, chunk(b"tRNS", b"\0\xff")), "a.png", max_pixels=MOST)
    assert not image.valid[:, :100].any() and image.valid[:, 100:].all()
    assert (image.pixels[:, 100:] == [200, 100, 50]).all()
    opaque = decode(png(256, 256, 8, 3, rows, palette), "a.png", max_pixels=MOST)
    assert (opaque.pixels[:, :100] == [10, 20, 30]).all() and opaque.valid.all()


def test_grey_with_alpha_is_understood():
    rows = b"".join(b"\0" + bytes([77, 0] * 100 + [99, 255] * 156) for _ in range(256))
    image = decode(png(256, 256, 8, 4, rows), "a.png", max_pixels=MOST)
    assert not image.valid[:, :100].any() and image.valid[:, 100:].all()
    assert (image.pixels[:, 100:] == 99).all()


def test_a_bomb_is_refused_by_its_header():
    bomb = png(50_000, 50_000, 8, 2, b"\0" * 1000)
    with pytest.raises(ImageInvalid, match=r"bomb\.png: 50000 x 50000 px, more than client\.max_pixels"):
        decode(bomb, "bomb.png", max_pixels=MOST)
    jpeg = bytearray(encode(paint(256), ".jpg"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(ImageInvalid, match="60000 x 60000 px"):
        decode(bytes(jpeg), "bomb.jpg", max_pixels=MOST)


def test_wrong_size_is_refused_with_a_hint():
    with pytest.raises(ImageInvalid, match=r"512 x 512 px, but 256 x 256 px are expected; is tile_size = 512 meant\?"):
        decode(encode(paint(512)), "a.png", max_pixels=MOST, size=256)
    with pytest.raises(ImageInvalid, match="240 x 256"):
        decode(encode(np.ascontiguousarray(paint(256)[:, :240])), "a.png", max_pixels=MOST, size=256)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_a_truncated_file_is_refused_wherever_it_is_cut(ending):
    whole = encode(paint(256), ending, 80)
    for length in [3, 11, 20, 40, *range(60, len(whole), len(whole) // 23), len(whole) - 1]:
        with pytest.raises(ImageInvalid, match=r"^cut: "):
            decode(whole[:length], "cut", max_pixels=MOST)


def test_a_jpeg_whose_rest_is_zeros_is_refused():
    whole = encode(paint(256), ".jpg")
    half = whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
    with pytest.raises(ImageInvalid, match="truncated"):
        decode(half, "hole.jpg", max_pixels=MOST)


def test_the_grey_rest_of_a_jpeg_that_was_cut_and_closed_is_not_valid():
    whole = encode(paint(256), ".jpg")
    image = decode(whole[: len(whole) // 2] + b"\xff\xd9", "closed.jpg", max_pixels=MOST)
    valid = mask_nodata(image, None, mask_blank=True).valid
    assert valid[:90].all() and not valid[160:].any()


def test_a_flipped_bit_in_a_png_is_noticed():
    data = bytearray(encode(paint(256)))
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageInvalid, match="wrong checksum"):
        decode(bytes(data), "bit.png", max_pixels=MOST)


def test_a_stray_marker_in_a_jpeg_is_noticed():
    data = bytearray(encode(paint(256), ".jpg"))
    data[len(data) // 2 : len(data) // 2 + 2] = b"\xff\x3a"
    with pytest.raises(ImageInvalid, match="stray marker"):
        decode(bytes(data), "bit.jpg", max_pixels=MOST)


def test_progressive_jpegs_and_those_with_restart_markers_are_read():
    bgr = cv2.cvtColor(paint(256), cv2.COLOR_RGB2BGR)
    for options in ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]):
        data = cv2.imencode(".jpg", bgr, options)[1].tobytes()
        assert decode(data, "a.jpg", max_pixels=MOST, size=256).valid.all()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"<!DOCTYPE html><html><title>Quota  exceeded</title>", r"an HTML page or XML document \('Quota exceeded'\)"),
        (b"\xef\xbb\xbf\n <?xml version='1.0'?><ServiceException>no layer</ServiceException>", "XML document"),
        (b'{"error": "no key"}', "JSON"),
        (b"Sorry, no tiles today.\n", r"text \('Sorry, no tiles today.'\)"),
        (b"GIF89a\1\0\1\0", "a GIF image"),
        (b"II*\0\x08\0\0\0", "a TIFF image"),
        (b"\0\0\0\x1cftypavif", "AVIF"),
        (b"\x1f\x8b\x08\0\0\0", "gzip"),
        (b"\x00\x01\x02\x03\x04", "begins with 00 01 02 03 04"),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(data, said):
    with pytest.raises(ImageInvalid, match=said) as caught:
        read_header(data, "https://tiles.example.org/1/2/3.png")
    assert str(caught.value).startswith("https://tiles.example.org/1/2/3.png: not an image but ")


def test_sixteen_bits_come_as_configured_and_not_unasked():
    ground = paint(256).astype(np.uint16) * 257
    deep = cv2.imencode(".png", cv2.cvtColor(ground, cv2.COLOR_RGB2BGR))[1].tobytes()
    with pytest.raises(ImageInvalid, match=r"deep\.png: bands of uint16, but depth = 8; set depth = 16, or stretch"):
        decode(deep, "deep.png", max_pixels=MOST)
    whole = decode(deep, "deep.png", max_pixels=MOST, layout=Layout(depth=16)).pixels
    assert whole.dtype == np.uint16 and (whole == ground).all()
    stretched = decode(deep, "deep.png", max_pixels=MOST, layout=Layout(stretch=(0, 65535))).pixels
    assert stretched.dtype == np.uint8 and (stretched == paint(256)).all()
    with pytest.raises(ImageInvalid, match="bands of uint8, but depth = 16"):
        decode(encode(paint(256)), "flat.png", max_pixels=MOST, layout=Layout(depth=16))


def test_bands_are_taken_in_the_order_asked_for():
    ground = paint(256)
    found = decode(encode(ground), "a.png", max_pixels=MOST, layout=Layout((3, 1)))
    assert (found.pixels == ground[:, :, [2, 0]]).all()
    with pytest.raises(ImageInvalid, match=r"has 3 bands, but bands = \[4\] asks for the 4th"):
        decode(encode(ground), "a.png", max_pixels=MOST, layout=Layout((4,)))


def test_cmyk_becomes_rgb():
    colours = np.array([[250, 20, 30], [30, 200, 40], [20, 40, 220], [128, 128, 128]], np.uint8)
    ground = np.repeat(colours.reshape(2, 2, 3), 128, axis=0).repeat(128, axis=1)
    file = io.BytesIO()
    Image.fromarray(ground).convert("CMYK").save(file, "JPEG", quality=95)
    image = decode(file.getvalue(), "ink.jpg", max_pixels=MOST)
    assert image.valid.all()
    for row, column in ((64, 64), (64, 192), (192, 64), (192, 192)):
        assert np.abs(image.pixels[row, column].astype(int) - ground[row, column]).max() <= 4


def test_animations_are_refused():
    with pytest.raises(ImageInvalid, match="animated PNG"):
        decode(png(1, 1, 8, 0, b"\0\0", chunk(b"acTL", bytes(8))), "a.png", max_pixels=MOST)
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + b"\xff\0\0" + b"\xff\0\0"
    webp = b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended
    with pytest.raises(ImageInvalid, match="animated WebP"):
        decode(webp, "a.webp", max_pixels=MOST)


def test_damage_of_any_kind_is_a_named_error_or_pixels():
    random = np.random.default_rng(3)
    for ending in (".jpg", ".png", ".webp"):
        whole = np.frombuffer(encode(paint(64), ending, 80), np.uint8)
        for _ in range(200):
            data = whole.copy()
            at = random.integers(0, len(data), random.integers(1, 6))
            data[at] = random.integers(0, 256, len(at))
            try:
                image = decode(data.tobytes(), "damaged", max_pixels=MOST)
            except ImageInvalid as error:
                assert str(error).startswith("damaged: ")
            else:
                assert image.pixels.shape[:2] == image.valid.shape

"""Picture files of every kind of pixel: the right levels, or one sentence with the file's name."""

import colorsys
import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saa_lite.data import load_dataset
from saa_lite.data.pictures import to_rgb
from saa_lite.errors import DataError

DEEP = [0, 1, 128, 129, 256, 257, 4095, 32767, 32768, 65278, 65406, 65407, 65535]


def loaded(folder: Path, name: str, content: bytes | Image.Image, **save: object) -> np.ndarray:
    """Pixels [H, W, 3] of one file in a folder set."""
    path = folder / "train" / "a" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.save(path, **save)
    return load_dataset(f"folder:{folder}").images[0].permute(1, 2, 0).numpy()


def eighth(level: int, white: int = 65535) -> int:
    """The level of 8 bits that is nearest, exactly."""
    return round(Fraction(level * 255, white))


def grey(levels: list[int]) -> np.ndarray:
    return np.array(levels)[None, :, None].repeat(3, 2)


def png(bits: int, colour: int, width: int, samples: np.ndarray) -> bytes:
    """A file by hand: one row of ``samples``, big-endian."""
    rows = b"\0" + samples.tobytes()
    head = struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def tiff(pixels: bytes, width: int, bits: int, order: str = "<", **tags: int) -> bytes:
    """A file by hand: one row, one sample per pixel, black is 0 unless said otherwise."""
    entries = {"photometric": 1, "kind": 1} | tags
    numbers = [
        (256, width), (257, 1), (258, bits), (259, 1), (262, entries["photometric"]),
        (273, 8), (277, 1), (278, 1), (279, len(pixels)),
        *([(281, entries["greatest"])] if "greatest" in entries else []), (339, entries["kind"]),
    ]  # fmt: skip
    where = 8 + len(pixels) + len(pixels) % 2
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", where)
    table = b"".join(struct.pack(f"{order}HHIHH", t, 3, 1, v, 0) for t, v in numbers)
    return (
        head + pixels.ljust(where - 8, b"\0")
        + struct.pack(f"{order}H", len(numbers)) + table + bytes(4)
    )  # fmt: skip


def twelve_bits(levels: list[int]) -> bytes:
    text = "".join(f"{level:012b}" for level in levels)
    return int(text, 2).to_bytes(len(text) // 8, "big")


DEEP_FILES: dict[str, bytes] = {
    "grey.png": png(16, 0, len(DEEP), np.array(DEEP, ">u2")),
    "little.tif": tiff(np.array(DEEP, "<u2").tobytes(), len(DEEP), 16),
    "big.tif": tiff(np.array(DEEP, ">u2").tobytes(), len(DEEP), 16, ">"),
    "inverse.tif": tiff((65535 - np.array(DEEP)).astype("<u2").tobytes(), len(DEEP), 16,
                        photometric=0),
    "deep.pgm": b"P5 13 1 65535\n" + np.array(DEEP, ">u2").tobytes(),
    "plain.pgm": b"P2 13 1 65535\n" + b" ".join(b"%d" % level for level in DEEP),
}  # fmt: skip


@pytest.mark.parametrize("name", DEEP_FILES)
def test_sixteen_bit_grey_is_divided_by_257(name: str, tmp_path: Path) -> None:
    pixels = loaded(tmp_path, name, DEEP_FILES[name])
    assert np.array_equal(pixels, grey([eighth(level) for level in DEEP]))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_packed_sixteen_bit_tiffs(compression: str, order: str, tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([DEEP], order))
    pixels = loaded(tmp_path, "packed.tif", picture, compression=compression)
    assert np.array_equal(pixels, grey([eighth(level) for level in DEEP]))


def test_every_level_of_sixteen_bits_goes_to_the_nearest_of_eight() -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = np.asarray(to_rgb(Image.fromarray(levels)))[..., 0].ravel()
    assert pixels.tolist() == [(2 * level + 257) // 514 for level in range(65536)]


LEVELS = [0, 1, 8, 9, 2047, 2048, 4094, 4095]  # of 12 bits


def test_twelve_bit_grey_is_divided_by_its_own_white(tmp_path: Path) -> None:
    expected = grey([eighth(level, 4095) for level in LEVELS])
    pixels = loaded(tmp_path / "tiff", "12.tif", tiff(twelve_bits(LEVELS), 8, 12))
    assert np.array_equal(pixels, expected)
    content = b"P5 8 1 4095\n" + np.array(LEVELS, ">u2").tobytes()
    assert np.abs(loaded(tmp_path / "pgm", "12.pgm", content) - expected).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_reach_from_black_to_white(bits: int, tmp_path: Path) -> None:
    packed = np.array([0b00011011, 0b11100100], np.uint8)
    text = "00011011" + "11100100"
    levels = [int(text[i : i + bits], 2) for i in range(0, 16, bits)]
    pixels = loaded(tmp_path, "few.png", png(bits, 0, len(levels), packed))
    assert np.array_equal(pixels, grey([eighth(level, 2**bits - 1) for level in levels]))


@pytest.mark.parametrize(("bits", "greatest"), [(16, 1023), (16, 32767), (8, 15)])
def test_a_tiff_with_unused_bits_is_not_brightened_but_named(
    bits: int, greatest: int, tmp_path: Path
) -> None:
    levels = [0, greatest // 2, greatest]
    content = tiff(np.array(levels, f"<u{bits // 8}").tobytes(), 3, bits, greatest=greatest)
    white = 2**bits - 1
    said = rf"ten\.tif: its greatest sample is {greatest}, .* white is taken to be {white}; "
    with pytest.warns(UserWarning, match=said):
        pixels = loaded(tmp_path, "ten.tif", content)
    assert np.array_equal(pixels, grey([eighth(level, white) for level in levels]))


@pytest.mark.parametrize(("bits", "greatest"), [(16, 65535), (16, 40000), (8, 128)])
def test_a_tiff_whose_samples_need_their_bits_is_silent(
    bits: int, greatest: int, tmp_path: Path
) -> None:
    content = tiff(bytes(4), 2, bits, greatest=greatest)
    assert loaded(tmp_path, "all.tif", content).max() == 0  # a warning would be an error here


def test_of_sixteen_bit_colours_the_upper_eight_are_kept(tmp_path: Path) -> None:
    samples = np.array([0x1234, 0xFFFF, 0x80FE, 0, 0x00FF, 0xAB00], ">u2")
    pixels = loaded(tmp_path / "rgb", "rgb.png", png(16, 2, 2, samples))
    assert pixels.tolist() == [[[0x12, 0xFF, 0x80], [0, 0, 0xAB]]]
    pixels = loaded(tmp_path / "la", "la.png", png(16, 4, 3, samples))
    assert pixels[..., 0].tolist() == [[0x12, 0x80, 0x00]]


REFUSED = {
    "float.tif": (tiff(np.ones(4, "<f4").tobytes(), 4, 32, kind=3), "floating-point numbers"),
    "signed.tif": (tiff(np.ones(4, "<i2").tobytes(), 4, 16, kind=2), "signed integers"),
    "signed-bytes.tif": (tiff(bytes(4), 4, 8, kind=2), "signed integers"),
    "long.tif": (tiff(np.ones(4, "<u4").tobytes(), 4, 32), "32-bit integers"),
    "signed-long.tif": (tiff(np.ones(4, ">i4").tobytes(), 4, 32, ">", kind=2), "signed integers"),
    "float.ppm": (b"Pf\n4 1\n-1.0\n" + np.ones(4, "<f4").tobytes(), "floating-point numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_white_is_refused_by_name(name: str, tmp_path: Path) -> None:
    content, kind = REFUSED[name]
    with pytest.raises(DataError, match=f"picture .*{name}: its pixels are {kind}") as caught:
        loaded(tmp_path, name, content)
    advice = "unsigned ones" if "signed" in name else "8 or 16 bits"
    assert str(caught.value).endswith(f"save it with {advice}")


def lab_to_rgb(lightness: float, a: float, b: float) -> list[float]:
    """CIE 15 and IEC 61966-2-1; the matrix is sRGB's for the D50 white (Lindbloom)."""
    y = (lightness + 16) / 116
    cubes = [(y + a / 500), y, (y - b / 200)]
    xyz = [
        white * (t**3 if t > 6 / 29 else 3 * (6 / 29) ** 2 * (t - 4 / 29))
        for t, white in zip(cubes, (0.9642, 1, 0.8249), strict=True)
    ]
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = [min(1, max(0, sum(m * c for m, c in zip(row, xyz, strict=True)))) for row in matrix]
    curve = [12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in linear]
    return [255 * c for c in curve]


def ycbcr_to_rgb(y: int, cb: int, cr: int) -> list[float]:
    """JFIF 1.02."""
    cb, cr = cb - 128, cr - 128
    rgb = (y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb)
    return [min(255.0, max(0.0, c)) for c in rgb]


def cmyk_to_rgb(c: int, m: int, y: int, k: int) -> list[float]:
    return [(255 - ink) * (255 - k) / 255 for ink in (c, m, y)]


PALETTE = [(200, 10, 30), (0, 120, 255), (7, 8, 9)]
# Samples of two pixels in Pillow's mode, their RGB, and how far Pillow's integers may be off.
MODES: dict[str, tuple[list[int], list[object], int]] = {
    "1": ([0, 255], [[0] * 3, [255] * 3], 0),
    "L": ([5, 250], [[5] * 3, [250] * 3], 0),
    "LA": ([5, 0, 250, 9], [[5] * 3, [250] * 3], 0),
    "La": ([50, 100, 20, 200], [[127.5] * 3, [25.5] * 3], 1),
    "P": ([1, 0], [PALETTE[1], PALETTE[0]], 0),
    "PA": ([2, 0, 1, 255], [PALETTE[2], PALETTE[1]], 0),
    "RGB": ([1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]], 0),
    "RGBA": ([1, 2, 3, 0, 4, 5, 6, 7], [[1, 2, 3], [4, 5, 6]], 0),
    "RGBX": ([1, 2, 3, 0, 4, 5, 6, 7], [[1, 2, 3], [4, 5, 6]], 0),
    "RGBa": ([10, 20, 30, 51, 4, 5, 6, 255], [[50, 100, 150], [4, 5, 6]], 1),
    "CMYK": ([0, 80, 255, 40, 9, 8, 7, 0],
             [cmyk_to_rgb(0, 80, 255, 40), cmyk_to_rgb(9, 8, 7, 0)], 1),
    "YCbCr": ([100, 90, 160, 200, 255, 0],
              [ycbcr_to_rgb(100, 90, 160), ycbcr_to_rgb(200, 255, 0)], 1),
    "HSV": ([20, 200, 180, 240, 30, 99],
            [[255 * c for c in colorsys.hsv_to_rgb(20 / 255, 200 / 255, 180 / 255)],
             [255 * c for c in colorsys.hsv_to_rgb(240 / 255, 30 / 255, 99 / 255)]], 2),
    "I;16": ([0x34, 0x12, 0xFF, 0xFF], [[eighth(0x1234)] * 3, [255] * 3], 0),
    "I;16L": ([0x34, 0x12, 0xFF, 0xFF], [[eighth(0x1234)] * 3, [255] * 3], 0),
    "I;16B": ([0x12, 0x34, 0xFF, 0xFF], [[eighth(0x1234)] * 3, [255] * 3], 0),
    "I;16N": ([*np.array([0x1234], "=u2").tobytes(), 0xFF, 0xFF],
              [[eighth(0x1234)] * 3, [255] * 3], 0),
    "LAB": ([128, 148, 98, 230, 118, 138],
            [lab_to_rgb(128 / 2.55, 20, -30), lab_to_rgb(230 / 2.55, -10, 10)], 2),
}  # fmt: skip
UNDEFINED = {"I": np.array([[1, 2]], np.int32), "F": np.array([[1, 2]], np.float32)}


def test_no_mode_of_pillow_is_forgotten() -> None:
    assert set(Image.MODES) == {*MODES, *UNDEFINED}


def picture_of(mode: str) -> Image.Image:
    samples = bytes(MODES[mode][0])
    if mode == "1":
        return Image.frombytes("L", (2, 1), samples).convert("1")
    if mode == "LAB":  # in a file the colour differences are signed
        samples = bytes(s if i % 3 == 0 else s ^ 128 for i, s in enumerate(samples))
    picture = Image.frombytes(mode, (2, 1), samples)
    if mode in ("P", "PA"):
        picture.putpalette([level for colour in PALETTE for level in colour])
    return picture


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pillow(mode: str) -> None:
    _, expected, off = MODES[mode]
    made = to_rgb(picture_of(mode))
    assert made.mode == "RGB"
    assert np.abs(np.asarray(made, float)[0] - np.array(expected)).max() <= off + 0.5


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_modes_that_a_file_can_hold(mode: str, tmp_path: Path) -> None:
    _, expected, off = MODES[mode]
    pixels = loaded(tmp_path, "file.tif", picture_of(mode))
    assert np.abs(pixels[0] - np.array(expected)).max() <= off + 0.5


@pytest.mark.parametrize("mode", UNDEFINED)
def test_modes_without_a_range(mode: str) -> None:
    with pytest.raises(ValueError, match="of which no format says how large white is"):
        to_rgb(Image.fromarray(UNDEFINED[mode]))


@pytest.mark.parametrize("transparency", [0, b"\x00\x80"], ids=["one colour", "by colour"])
def test_transparent_pixels_keep_the_colour_of_the_file(
    transparency: int | bytes, tmp_path: Path
) -> None:
    picture = picture_of("P")
    picture.info["transparency"] = transparency
    pixels = loaded(tmp_path, "clear.png", picture, transparency=transparency)
    assert pixels.tolist() == [[list(PALETTE[1]), list(PALETTE[0])]]


CORNERS = np.array([[10, 80], [140, 200], [30, 250]], np.uint8)  # no symmetry
# EXIF 2.3: which side of what is seen the first row and the first column of the file are.
SEEN: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.T,  # left, top
    6: lambda a: a.T[:, ::-1],  # right, top
    7: lambda a: a.T[::-1, ::-1],  # right, bottom
    8: lambda a: a.T[::-1],  # left, bottom
}


@pytest.mark.parametrize(
    ("name", "orientation"),
    [
        *((n, o) for n in ("a.png", "deep.png", "a.tif", "packed.tif", "a.webp") for o in SEEN),
        ("a.png", 0),  # of no meaning
        ("a.tif", 9),
    ],
)
def test_pictures_stand_as_their_orientation_says(
    name: str, orientation: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    stored = CORNERS.astype(np.uint16) * 257 if name == "deep.png" else CORNERS
    options = {"packed.tif": {"compression": "tiff_lzw"}, "a.webp": {"lossless": True}}
    picture = Image.fromarray(stored)
    pixels = loaded(tmp_path, name, picture, exif=exif, **options.get(name, {}))[..., 0]
    assert pixels.tolist() == SEEN.get(orientation, SEEN[1])(CORNERS).tolist()


def test_a_photograph_is_turned_before_its_square_is_cut(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # the top of the file is the right of what is seen
    halves = np.zeros((64, 96), np.uint8)
    halves[:32] = 255
    path = tmp_path / "train" / "a" / "photo.jpg"
    path.parent.mkdir(parents=True)
    Image.fromarray(halves).save(path, exif=exif)
    image = load_dataset(f"folder:{tmp_path}", size=8).images[0, 0]
    assert image[:, :3].max() <= 8
    assert image[:, 5:].min() >= 247


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((200, 0, 0), (0, 200, 0))]
    file = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_picture_of_several_is_taken_and_that_is_said(kind: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"many\.png holds several pictures; the first is taken$"):
        pixels = loaded(tmp_path, "many.png", animation(kind))
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[200, 0, 0]]


def test_a_photograph_with_a_preview_is_one_picture(tmp_path: Path) -> None:
    pixels = loaded(tmp_path, "phone.jpg", animation("MPO"))  # a warning would be an error here
    assert np.abs(pixels.reshape(-1, 3) - np.array([200, 0, 0])).max() <= 3


def test_many_remarks_are_one_warning(tmp_path: Path) -> None:
    for name in ("b", "c"):
        with pytest.warns(UserWarning, match="several pictures"):
            loaded(tmp_path, f"{name}.png", animation("PNG"))
    with pytest.warns(UserWarning, match=r"a\.png .* \(and 2 more such remarks\)$") as caught:
        loaded(tmp_path, "a.png", animation("PNG"))
    assert len(caught) == 1


def test_what_pillow_warns_of_names_the_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 1, "a maker with a long name"
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "JPEG", exif=exif)
    content = bytearray(file.getvalue())
    entry = content.index(struct.pack(">HHI", 271, 2, 25))
    content[entry + 8 : entry + 12] = b"\x7f\xff\xff\xff"  # where the name is said to be
    with pytest.warns(UserWarning, match=r"odd\.jpg: Truncated File Read$"):
        loaded(tmp_path, "odd.jpg", bytes(content))


def test_bombs_are_refused_and_large_pictures_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = png(8, 0, 1, np.zeros(1, np.uint8))
    head = struct.pack(">II", 20_000, 10_000)  # 200 megapixels, says the header
    kind = b"IHDR" + head + huge[24:29]
    huge = huge[:12] + kind + struct.pack(">I", zlib.crc32(kind)) + huge[33:]
    with pytest.raises(DataError, match=r"huge\.png has more pixels than the 178,956,970 "):
        loaded(tmp_path / "huge", "huge.png", huge)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)
    with pytest.warns(UserWarning, match=r"large\.png: Image size \(6 pixels\) exceeds") as caught:
        assert loaded(tmp_path / "large", "large.png", Image.new("L", (3, 2), 7)).max() == 7
    assert len(caught) == 1
    with pytest.raises(DataError, match=r"raise PIL\.Image\.MAX_IMAGE_PIXELS"):
        loaded(tmp_path / "larger", "larger.png", Image.new("L", (7, 1)))


def test_an_error_without_words_names_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(picture: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", fail)
    with pytest.raises(DataError, match=r"cannot read the picture .*a\.png: MemoryError$"):
        loaded(tmp_path, "a.png", png(8, 0, 1, np.zeros(1, np.uint8)))

"""A poison set as a folder of images: what is in it is played, and what is hostile ends in one line."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from poisonbench.attacks import image_folder
from poisonbench.attacks.replay import Replay
from poisonbench.errors import ConfigError, PoisonbenchError
from poisonbench.problem.samples import PoisonSet
from poisonbench.problem.threat import Mode, ThreatModel
from poisonbench.seeding import child_generator
from poisonbench.stages.stage import Stage
from poisonbench.testing import Game

GREY = np.random.default_rng(0).integers(0, 256, (5, 4, 4), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)


def folder(place: Path, images: Any, csv: str | None = None, name: str = "{}.png", **options: Any) -> Path:
    """Images named by their number, with label = number % 4, unless a CSV says otherwise."""
    place.mkdir(exist_ok=True)
    names = [name.format(number) for number in range(len(images))]
    for file, image in zip(names, images, strict=True):
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(place / file, **options)
    lines = "".join(f"{file},{number % 4}\n" for number, file in enumerate(names))
    (place / "poison.csv").write_text("file,label\n" + lines if csv is None else csv, encoding="utf-8")
    return place


def play(place: Path, channels: int = 1, **fields: Any) -> PoisonSet:
    game, attack = Game(shape=(channels, 4, 4)), Replay(file=str(place), **fields)
    attack.ready()
    view, budget = game.attacker(ThreatModel()), game.budget(attack.threat)
    poison = attack.craft(view, budget, Stage(child_generator(0, "attack")))
    budget.verify(poison, view.train, "replay")
    return poison


def refused(place: Path) -> str:
    """The one line that says why."""
    with pytest.raises(ConfigError) as caught:
        Replay(file=str(place)).ready()
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"attack.file: {place}: ")
    return line


@pytest.mark.parametrize("kind", ["png", "bmp", "webp"])
def test_images_are_played_in_the_order_of_the_csv(tmp_path: Path, kind: str) -> None:
    lossless = {"lossless": True} if kind == "webp" else {}
    place = folder(tmp_path, RGB[:3], f"label,file,source\n2,2.{kind},7\n0,0.{kind},-1\n", f"{{}}.{kind}", **lossless)
    poison = play(place, channels=3)
    assert torch.equal(poison.x * 255, torch.from_numpy(RGB[[2, 0]]).permute(0, 3, 1, 2).float())
    assert (poison.y.tolist(), poison.source.tolist()) == ([2, 0], [7, -1])


def test_a_jpeg_is_read(tmp_path: Path) -> None:
    flat = np.full((1, 4, 4), 77, np.uint8)
    assert torch.equal(play(folder(tmp_path, flat, name="{}.jpg")).x * 255, torch.full((1, 1, 4, 4), 77.0))


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.convert("RGB"),
        lambda image: image.convert("RGBA"),
        lambda image: image.convert("LA"),
        lambda image: image.convert("P"),
    ],
)
def test_what_loses_nothing_is_converted(tmp_path: Path, change: Callable[[Image.Image], Image.Image]) -> None:
    images = [change(Image.fromarray(image)) for image in GREY]
    expected = torch.from_numpy(GREY)[:, None].float()
    place = folder(tmp_path, images)
    assert torch.equal(play(place).x * 255, expected)
    assert torch.equal(play(place, channels=3).x * 255, expected.expand(-1, 3, -1, -1))


def test_black_and_white_become_0_and_1(tmp_path: Path) -> None:
    bits = GREY > 127
    assert torch.equal(play(folder(tmp_path, bits)).x, torch.from_numpy(bits)[:, None].float())


def test_colours_are_not_lost(tmp_path: Path) -> None:
    images = [GREY[0], RGB[1], RGB[2]]  # grey among colours is a colour
    with pytest.raises(PoisonbenchError, match=r"1\.png has colours, the dataset's images are grey"):
        play(folder(tmp_path, images))
    assert play(tmp_path, channels=3).x[0].unique(dim=0).shape[0] == 1


def test_another_size_than_the_datasets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PoisonbenchError, match=r"images are 4 × 3 pixels, the dataset's 4 × 4"):
        play(folder(tmp_path, GREY[:, :3]))


def test_the_content_decides_and_not_the_names(tmp_path: Path) -> None:
    first = Replay(file=str(folder(tmp_path / "a", GREY)))
    named = Replay(file=str(folder(tmp_path / "b", GREY, name="z{}.png")))
    assert named.sha256 == first.sha256
    for number, text in enumerate(("file,label\n1.png,1\n0.png,0\n", "file,label\n0.png,1\n1.png,0\n")):
        other = folder(tmp_path / str(number), GREY[:2], text)
        assert Replay(file=str(other)).sha256 != Replay(file=str(folder(tmp_path / "two", GREY[:2]))).sha256
    with_source = folder(tmp_path / "c", GREY[:1], "file,label,source\n0.png,0,5\n")
    assert Replay(file=str(with_source)).sha256 != Replay(file=str(folder(tmp_path / "one", GREY[:1]))).sha256
    Image.fromarray(GREY[1]).save(tmp_path / "a" / "0.png")
    with pytest.raises(ConfigError, match="has changed since it was chosen"):
        first.ready()


def test_perturbations_have_sources(tmp_path: Path) -> None:
    place = folder(tmp_path, GREY[:2], "file,label,source\n0.png,1,1\n1.png,2,2\n")
    assert play(place, mode=Mode.PERTURBATION).source.tolist() == [1, 2]


def png(width: int, height: int, data: bytes = b"", depth: int = 8, colours: int = 0) -> bytes:
    """A PNG whose header says what it likes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def saved(image: Image.Image, **options: Any) -> Callable[[Path], object]:
    return lambda path: image.save(path, "png", **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(png(60_000, 60_000)), "no whole image: Image size (3600000000 pixels) exceeds"),
        (lambda path: path.write_bytes(png(10_000, 10_000)), "no whole image: Image size (100000000 pixels) exceeds"),
        (lambda path: path.write_bytes(png(5_000, 5_000)), "5000 × 5000 pixels, at most 16,777,216 are decoded"),
        (lambda path: path.write_bytes(png(4, 4, b"\7" * 20)[:-30]), "no whole image: "),
        (lambda path: path.write_bytes(png(4, 4, b"\0" * 200, depth=16, colours=2)), "16 bits a channel"),
        (lambda path: path.write_bytes(png(4, 4, b"\0" * 200, depth=16)), "16 bits a channel"),
        (lambda path: path.write_bytes(b""), "no PNG, JPEG, WebP or BMP"),
        (
            lambda path: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n"),
            "no PNG, JPEG, WebP or BMP",
        ),
        (lambda path: Image.fromarray(GREY[0]).save(path, "tiff"), "no PNG, JPEG, WebP or BMP"),
        (lambda path: Image.fromarray(RGB[0]).convert("CMYK").save(path, "jpeg"), "mode CMYK"),
        (saved(Image.new("LA", (4, 4), (9, 128))), "transparent in places"),
        (saved(Image.new("L", (4, 4), 9), transparency=9), "transparent in places"),
        (saved(Image.new("P", (4, 4), 0), transparency=0), "transparent in places"),
        (saved(Image.new("L", (4, 4)), save_all=True, append_images=[Image.new("L", (4, 4), 9)]), "2 frames"),
    ],
)
def test_what_is_no_plain_image_is_refused(tmp_path: Path, make: Callable[[Path], object], message: str) -> None:
    place = folder(tmp_path, GREY[:1])
    make(place / "0.png")
    line = refused(place)
    assert "0.png: no whole image: " in line
    assert message in line


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    for kind in ("png", "jpg"):
        place = folder(tmp_path / kind, [noise], name=f"{{}}.{kind}")
        whole = (place / f"0.{kind}").read_bytes()
        (place / f"0.{kind}").write_bytes(whole[: len(whole) // 2])
        assert "no whole image: " in refused(place)


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("", "the first line is ''"),
        ("name,class\n0.png,1\n", "the first line is 'name,class', expected file,label or file,label,source"),
        ("file,label,label\n0.png,1,1\n", "the first line is"),
        ("file,label,radius\n0.png,1,1\n", "the first line is"),
        ("file,label\n", "poison.csv names no image"),
        ("file,label\n0.png\n", "line 2: 1 values, expected 2"),
        ("file,label\n0.png,1,2\n", "line 2: 3 values, expected 2"),
        ("file,label\n\n0.png,one\n", "line 3: label: expected an integer ≥ 0, got 'one'"),
        ("file,label\n0.png,-1\n", "label: expected an integer ≥ 0, got '-1'"),
        ("file,label\n0.png,1e3\n", "label: expected an integer"),
        (f"file,label\n0.png,{'9' * 5000}\n", "label: expected an integer"),
        ("file,label,source\n0.png,1,-2\n", "source: expected an integer ≥ -1, got '-2'"),
        ("file,label,source\n0.png,1,\n", "source: expected an integer ≥ -1, got ''"),
        ("file,label\n/etc/passwd,1\n", "'/etc/passwd' is no name of a file in the folder"),
        ("file,label\n../set/0.png,1\n", "'../set/0.png' is no name of a file in the folder"),
        ("file,label\nsub/../0.png,1\n", "is no name of a file in the folder"),
        ("file,label\n,1\n", "'' is no name of a file in the folder"),
        ("file,label\n0\0.png,1\n", "is no name of a file in the folder"),
        ("file,label\n.,1\n", "'.' is no plain file"),
        ("file,label\n9.png,1\n", "line 2: '9.png': No such file or directory"),
        (f"file,label\n{'a' * 5000},1\n", "File name too long"),
        ('file,label\n"0.png,1\n', "is no CSV: unexpected end of data"),
        (f"file,label\n{'a' * 200_000},1\n", "is no CSV: field larger than field limit"),
    ],
)
def test_a_wrong_line_of_the_csv_is_refused(tmp_path: Path, csv: str, message: str) -> None:
    assert message in refused(folder(tmp_path / "set", GREY[:1], csv))


def test_a_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path, GREY[:1])
    (place / "poison.csv").write_bytes("file,label\n\xe9.png,1\n".encode("latin-1"))
    assert "poison.csv is not UTF-8" in refused(place)
    (place / "poison.csv").write_bytes("file,label\n0.png,1\n".encode("utf-8-sig"))
    assert play(place).y.tolist() == [1]


def test_there_is_one_csv(tmp_path: Path) -> None:
    place = folder(tmp_path, GREY[:1])
    (place / "more.csv").touch()
    assert "expected one .csv beside the images, with file,label[,source]; there is more.csv, poison.csv" in refused(
        place
    )
    for name in ("more.csv", "poison.csv"):
        (place / name).unlink()
    assert "there is none" in refused(place)


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.fromarray(GREY[0]).save(secret)
    place = folder(tmp_path / "set", GREY[:2], "file,label\n0.png,1\nlink.png,1\n")
    (place / "link.png").symlink_to(place / "1.png")
    assert len(play(place)) == 2
    for target, why in (
        (secret, "leads out of the folder"),
        (place / "link.png", "symbolic link"),
        (place, "no plain"),
    ):
        (place / "link.png").unlink()
        (place / "link.png").symlink_to(target)
        assert why in refused(place).replace("a circle of links", "symbolic link")
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.fromarray(GREY[0]).save(outside / "0.png")
    (place / "link.png").unlink()
    (place / "sub").symlink_to(outside)
    (place / "poison.csv").write_text("file,label\nsub/0.png,1\n")
    assert "leads out of the folder" in refused(place)
    (tmp_path / "poison.csv").write_text("file,label\n0.png,1\n")
    (place / "poison.csv").unlink()
    (place / "poison.csv").symlink_to(tmp_path / "poison.csv")
    assert "'poison.csv' leads out of the folder" in refused(place)


def test_a_pipe_does_not_make_it_wait(tmp_path: Path) -> None:
    place = folder(tmp_path, GREY[:1])
    (place / "0.png").unlink()
    os.mkfifo(place / "0.png")
    assert "'0.png' is no plain file" in refused(place)


def test_a_million_rows_are_not_read(tmp_path: Path) -> None:
    place = folder(tmp_path, GREY[:1], "file,label\n" + "0.png,1\n" * 1_000_000)
    assert "more than 250,000 rows" in refused(place)


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(tmp_path, GREY[:3])
    monkeypatch.setattr(image_folder, "LARGEST", 2 * 16)
    assert "when decoded" in refused(place)
    for name, file in (("_LARGEST_FILE", "0.png is larger"), ("_LARGEST_CSV", "poison.csv is larger")):
        monkeypatch.setattr(image_folder, name, 10)
        assert file in refused(place)


def test_one_size_for_all(tmp_path: Path) -> None:
    place = folder(tmp_path, [GREY[0], GREY[1][:3]])
    assert "1.png is 4 × 3, 0.png 4 × 4: one size for all" in refused(place)


def test_it_is_held_to_the_budget(tmp_path: Path) -> None:
    place = folder(tmp_path, GREY[:1], "file,label\n" + "0.png,1\n" * 7)
    with pytest.raises(PoisonbenchError, match="7 rows, between 1 and 6 allowed"):
        play(place)

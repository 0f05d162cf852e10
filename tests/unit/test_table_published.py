"""Every cell of published tables, in every format, against plain arithmetic on the published JSON files: those of two
models, which stand for all protocols and both tiers."""

from __future__ import annotations

import base64
import csv
import html.parser
import io
import json
import lzma
import re
import statistics
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from scipy.special import stdtridf

from poisonbench.cli import table_rows
from poisonbench.leaderboard.statistics.studentized_range import survival
from poisonbench.leaderboard.tables import long_form
from poisonbench.leaderboard.tables.pivot import Table, pivot
from poisonbench.leaderboard.tables.shapes import PRESETS, Shape
from poisonbench.leaderboard.tables.sheet_html import html as as_html
from poisonbench.leaderboard.tables.sheet_latex import latex
from poisonbench.leaderboard.tables.sheet_markdown import markdown
from poisonbench.leaderboard.tables.texts import sheet
from poisonbench.leaderboard.values import VALUES
from poisonbench.store.record import Record
from poisonbench.terminal.sheet import terminal

EPSILON, MODELS = 0.03, ("lr", "cnn")
ATTACKS = ("clean-copies", "label-flip", "tgda", "influence-attack", "back-gradient")
"""Those that are looked at: a table of all would take these tests a minute longer."""

SEEDS = {"digits-v2": 10, "digits-17-v2": 10, "mnist-5k-v2": 10, "mnist-v2": 5, "mnist-17-v2": 5}
"""Of protocols that do not have three."""

RESULTS = Path(__file__).resolve().parents[2] / "leaderboard" / "results"


def late(trained: dict[str, list[float]]) -> float:
    """The drop of means over the last quarter of the epochs."""
    late = [index for index, epoch in enumerate(trained["epochs"]) if epoch > 0.75 * trained["epochs"][-1]]
    return sum(trained["clean"][index] - trained["poisoned"][index] for index in late) / len(late)


PATHS: dict[str, Callable[[Any], float | None]] = {
    "acc1": lambda one: one["metrics"]["acc1"],
    "acc2": lambda one: one["metrics"]["acc2"],
    "drop": lambda one: one["metrics"]["acc1"] - one["metrics"]["acc2"],
    "undefended": lambda one: (
        None
        if one["metrics"]["acc2_undefended"] is None
        else one["metrics"]["acc1"] - one["metrics"]["acc2_undefended"]
    ),
    "last-quarter": lambda one: None if one["trajectories"] is None else late(one["trajectories"]),
    "best-epoch": lambda one: (
        None
        if one["trajectories"] is None
        else max(one["trajectories"]["clean"]) - max(one["trajectories"]["poisoned"])
    ),
    "saved": lambda one: (
        None
        if one["metrics"]["acc2_undefended"] is None
        else one["metrics"]["acc2"] - one["metrics"]["acc2_undefended"]
    ),
    "clean-cost": lambda one: (
        None
        if one["metrics"]["acc1_defended"] is None
        else one["metrics"]["acc1_padded"] - one["metrics"]["acc1_defended"]
    ),
    "certified": lambda one: (
        None
        if (proof := one["metrics"].get("certified")) is None
        else [
            accuracy
            for accuracy, rows in zip(proof["accuracy"], proof["rows"], strict=True)
            if rows <= one["threat"]["n_poison"]
        ][-1]
    ),
    "precision": lambda one: (one["defense_detail"] or {}).get("precision"),
    "recall": lambda one: (one["defense_detail"] or {}).get("recall"),
    "trusted": lambda one: (one["defense_detail"] or {}).get("trusted"),
    "removed": lambda one: (one["defense_detail"] or {}).get("removed"),
    "linf": lambda one: (one["poison_check"] or {}).get("linf_max"),
    "attack-time": lambda one: one["timing"]["attack_s"],
    "defense-time": lambda one: one["timing"]["defense_s"],
    "defense-memory": lambda one: one["memory"]["defense_rss_peak_mb"],
}
IMAGES = ("acc1", "acc2", "drop")
"""Values that are means over test images."""

KNOWS = " (knows the defense)"
"""What the name of an attack ends with that does: it stands below itself without, and competes with nothing."""

DECIMALS = {"removed": 0, "defense-memory": 0, "linf": 3, "attack-time": 1, "defense-time": 1}

Marked = tuple[str, str]
"""What a cell prints, and best, tied or nothing."""


@pytest.fixture(scope="module")
def tables(
    published_records: tuple[Record, ...], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Shape], list[Table]]:
    """Tables of these published records alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_rows, "published", lambda: list(published_records))
        empty = str(tmp_path_factory.mktemp("empty"))
        rows, numbers, answers = table_rows.read(
            empty, {"epsilon": (EPSILON,), "model": MODELS, "attack": ATTACKS}, True, tuple(VALUES)
        )
    return cache(lambda shape: pivot(rows, numbers, shape, answers))


@cache
def published() -> dict[tuple[str, str, str, str], dict[int, Any]]:
    """The records by protocol, model, attack and defense, and by seed. All have one setting of each method."""
    found: dict[tuple[str, str, str, str], dict[int, Any]] = defaultdict(dict)
    for line in (line for path in RESULTS.glob("*/*.xz") for line in lzma.decompress(path.read_bytes()).splitlines()):
        one = json.loads(line)
        if one["threat"]["epsilon"] != EPSILON or one["model"]["name"] not in MODELS:
            continue
        if one["attack"]["name"] not in ATTACKS:
            continue
        earlier = "" if one["engine"]["version"] else " · earlier code"
        protocol = one["protocol"]["name"] + earlier
        knows = KNOWS if "knows defense" in one["attack"]["params"] else ""
        key = protocol, one["model"]["name"], one["attack"]["name"] + knows, one["defense"]["name"]
        if one["seeds"]["run"] >= SEEDS.get(one["protocol"]["name"], 3):
            continue  # digits-v1 has records of more seeds than count
        assert one["seeds"]["run"] not in found[key]
        found[key][one["seeds"]["run"]] = one
    return dict(found)


class Entry(list[float]):
    """A value of an experiment in the order of seeds, and what each test image adds, (seeds, images), where that is
    known; one column of a value without images."""

    def __init__(self, key: tuple[str, str, str, str], value: str) -> None:
        records = published().get(key, {})
        found = {seed: number for seed in sorted(records) if (number := PATHS[value](records[seed])) is not None}
        super().__init__(found.values())
        self.seeds = list(found)
        self.wanted = range(SEEDS.get(key[0], 3))
        self.table: Any = np.array(list(found.values()))[:, None] if value not in IMAGES else None
        answers = [records[seed]["metrics"]["answers"] for seed in found]
        if value in IMAGES and answers and None not in answers:
            right = {
                name: np.array([np.unpackbits(np.frombuffer(base64.b64decode(one[name]), np.uint8)) for one in answers])
                for name in ("clean", "attacked")
            }
            images = records[self.seeds[0]]["dataset"]["n_test"]
            parts = {name: 100.0 * bits[:, :images] for name, bits in right.items()}
            self.table = {
                "acc1": parts["clean"],
                "acc2": parts["attacked"],
                "drop": parts["clean"] - parts["attacked"],
            }[value]


def numbers(key: tuple[str, str, str, str], value: str) -> Entry:
    """Of an experiment, in the order of seeds."""
    return Entry(key, value)


def variances(table: Any) -> tuple[float, float]:
    """Of the mean, by an analysis of variance: of seeds, and of images."""
    n, m = table.shape
    of_seeds = table.mean(axis=1).var(ddof=1) / n
    if m == 1:
        return of_seeds, 0.0
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    interaction = (left**2).sum() / (n - 1) / (m - 1) / n / m
    return of_seeds, max(0.0, table.mean(axis=0).var(ddof=1) / m - interaction) + (100 / m) ** 2


def half_width(found: Entry) -> float | None:
    """Of the mean's 95 % interval, Banerjee's."""
    if found.table is None or len(found) < 2 or (found.table.shape[1] == 1 and max(found) - min(found) <= 1e-9):
        return None
    n, m = found.table.shape
    of_seeds, of_images = variances(found.table)
    return float(
        (stats.t.ppf(0.975, n - 1) ** 2 * of_seeds + stats.t.ppf(0.975, max(1, m - 1)) ** 2 * of_images) ** 0.5
    )


def text(found: Entry, value: str, spread: str = "std") -> str:
    """What a cell prints."""
    if not found:
        return "–"
    decimals = DECIMALS.get(value, 2)

    def shown(number: float) -> str:
        digits = f"{abs(number):.{decimals}f}"
        return ("−" if number < 0 and float(digits) else "") + digits

    mean, std = statistics.mean(found), statistics.stdev(found)
    after = {"std": f" ± {std:.{decimals}f}", "none": ""}
    if spread == "interval":
        half = half_width(found)
        after["interval"] = "" if half is None else f" [{shown(mean - half)}, {shown(mean + half)}]"
    return f"{shown(mean)}{after[spread]} ({len(found)})"


def marks(entries: list[Entry], largest: bool) -> list[str]:
    """Of entries that compete over their protocol's seeds: the first against each, stepped down by hand."""
    sign = -1 if largest else 1
    able = {
        index: sign * entry.table[[entry.seeds.index(seed) for seed in entry.wanted]]
        for index, entry in enumerate(entries)
        if entry.table is not None and set(entry.wanted) <= set(entry.seeds)
    }
    if len(able) < 2:
        return [""] * len(entries)
    best, *others = sorted(able, key=lambda index: able[index].mean())
    k, n, usual = len(able), len(entries[0].wanted), {}
    for a, b in combinations(able, 2):
        usual[a, b] = usual[b, a] = (able[a] - able[b]).mean(axis=1).var(ddof=1) / n
    half = sorted(usual[pair] for pair in combinations(able, 2))
    least = max(half[(len(half) - 1) // 2], statistics.median(usual[best, index] for index in others))
    q, df = {}, {}
    for index in others:
        of_seeds, of_images = variances(able[index] - able[best])
        of_seeds, nu, m = max(of_seeds, least), (n - 1) * min(k - 1, 3), max(1, able[index].shape[1] - 1)
        total = of_seeds + of_images
        if total <= 1e-15:
            q[index], df[index] = 0.0, float(nu)
            continue
        squared = (stats.t.ppf(0.975, nu) ** 2 * of_seeds + stats.t.ppf(0.975, m) ** 2 * of_images) / total
        q[index] = 2**0.5 * (able[index] - able[best]).mean() / total**0.5
        df[index] = float(stdtridf(0.975, squared**0.5))
    going, told = True, set()
    clearest = sorted(others, key=lambda index: float(survival(q[index], k, df[index])))
    for j, index in zip(range(k, 1, -1), clearest, strict=True):
        p = float(survival(q[index], j, df[index]))
        going = going and (p if j >= k - 1 else 1 - (1 - p) ** (k / j)) <= 0.05
        told |= {index} if going else set()
    found = [""] * len(entries)
    for index in able:
        same = abs(able[index].mean() - able[best].mean()) <= 1e-9
        found[index] = "best" if same else "" if index in told else "tied"
    return found


def marks_of(attacks: list[str], entries: list[Entry], largest: bool) -> list[str]:
    """Those of attacks that do not know the defense; the others have none."""
    found = iter(marks([one for name, one in zip(attacks, entries, strict=True) if not name.endswith(KNOWS)], largest))
    return ["" if name.endswith(KNOWS) else next(found) for name in attacks]


def defenses(protocol: str, model: str) -> list[str]:
    """No defense first, then by name."""
    names = {key[3] for key in published() if key[:2] == (protocol, model)}
    return sorted(names, key=lambda name: (name != "none", name))


def attacks_by_defenses(protocol: str, model: str, value: str, spread: str = "std") -> list[list[Marked]]:
    """The board of a model: headings, then a line each attack."""
    across = defenses(protocol, model)
    names = {key[2] for key in published() if key[:2] == (protocol, model)}
    down = sorted(
        names,
        key=lambda name: (
            round(-statistics.fmean(numbers((protocol, model, name.removesuffix(KNOWS), "none"), value)), 9),
            name,
        ),
    )
    columns = []
    for defense in across:
        entries = [numbers((protocol, model, attack, defense), value) for attack in down]
        marked = marks_of(down, entries, largest=True)
        columns.append([(text(entry, value, spread), mark) for entry, mark in zip(entries, marked, strict=True)])
    head = [("attack", ""), *((name, "") for name in across)]
    return [head, *([(name, ""), *cells] for name, *cells in zip(down, *columns, strict=True))]


def models_by_attacks(protocol: str, defense: str) -> list[list[Marked]]:
    """The paper's Table 2 against a defense; the attacks across with three values each."""
    keys = [key for key in published() if (key[0], key[3]) == (protocol, defense)]
    down = sorted({key[1] for key in keys})
    lowest = {
        name: min(statistics.fmean(numbers(key, "acc2")) for key in keys if key[2] == name) for _, _, name, _ in keys
    }
    across = sorted(lowest, key=lambda name: (round(lowest[name.removesuffix(KNOWS)], 9), name))
    shown = {"acc2": False, "drop": True, "attack-time": False}
    lines: list[list[Marked]] = [[("model", ""), *((f"{name} · {value}", "") for name in across for value in shown)]]
    for model in down:
        entries = {value: [numbers((protocol, model, name, defense), value) for name in across] for value in shown}
        marked = {value: marks_of(across, entries[value], largest) for value, largest in shown.items()}
        cells = [
            (text(entries[value][index], value), marked[value][index])
            for index in range(len(across))
            for value in shown
        ]
        lines.append([(model, ""), *cells])
    return lines


def models() -> list[tuple[str, str]]:
    """Every protocol and model."""
    return sorted({key[:2] for key in published()})


def boards(value: str = "drop", spread: str = "std") -> list[list[list[Marked]]]:
    """Attacks by defenses of every model."""
    return [attacks_by_defenses(*board, value, spread) for board in models()]


def from_markdown(source: str) -> list[list[list[Marked]]]:
    """The tables of a Markdown text."""

    def cell(written: str) -> Marked:
        for pattern, mark in ((r"\*\*(.+)\*\*", "best"), (r"<ins>(.+)</ins>", "tied")):
            if found := re.fullmatch(pattern, written):
                return found[1], mark
        return written, ""

    found: list[list[list[Marked]]] = []
    for above, line in pairwise(["", *source.splitlines()]):
        if line.startswith("| ") and not line.startswith("| ---"):
            if not above.startswith("|"):
                found.append([])
            found[-1].append([cell(part) for part in line[2:-2].split(" | ")])
    return found


def from_latex(source: str) -> list[list[list[Marked]]]:
    """The tables of a LaTeX text; headings of several lines become one."""

    def plain(written: str) -> str:
        for spelling, letter in ((r"$\pm$", "±"), ("$-$", "−"), ("{[}", "["), ("--", "–")):
            written = written.replace(spelling, letter)
        return written

    def cell(written: str) -> Marked:
        for pattern, mark in ((r"\\textbf\{(.+)\}", "best"), (r"\\underline\{(.+)\}", "tied")):
            if found := re.fullmatch(pattern, written):
                return plain(found[1]), mark
        return plain(written), ""

    found = []
    for body in re.findall(r"\\toprule\n(.+?)    \\bottomrule", source, re.DOTALL):
        head, _, rest = body.partition("    \\midrule\n")
        lines = [line.strip().removesuffix(r" \\") for line in head.splitlines() if "cmidrule" not in line]
        headings = lines[-1].split(" & ")
        for over in lines[:-1]:
            spans = re.findall(r"\\multicolumn\{(\d+)\}\{c\}\{(.*?)\}", over)
            wide = [name for count, name in spans for _ in range(int(count))]
            left = len(headings) - len(wide)
            headings[left:] = [f"{a} · {b}" for a, b in zip(wide, headings[left:], strict=True)]
        rows = [line.strip().removesuffix(r" \\").split(" & ") for line in rest.splitlines()]
        found.append([[cell(part) for part in line] for line in [headings, *rows]])
    return found


class Page(html.parser.HTMLParser):
    """The tables of a page, each a list of lines, each a list of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[Marked]]] = []
        self.widths: list[int] = []
        self.inside = self.unseen = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.inside = True
            self.tables[-1][-1] += [("", "")] * int(given.get("colspan") or 1)
        elif tag in ("strong", "u") and self.inside:
            self.tables[-1][-1][-1] = ("", "best" if tag == "strong" else "tied")
        elif tag == "span":
            self.unseen = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self.inside = False
        elif tag == "span":
            self.unseen = False

    def handle_data(self, data: str) -> None:
        if self.inside and not self.unseen:
            before, mark = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = (before + data.strip(), mark)


def from_html(source: str) -> list[list[list[Marked]]]:
    """The tables of an HTML text, for shapes with one line of headings."""
    page = Page()
    page.feed(source)
    return page.tables


@pytest.mark.parametrize("spread", ["std", "interval", "none"])
def test_the_board_in_every_format_for_people(tables: Callable[[Shape], list[Table]], spread: str) -> None:
    expected = boards("drop", spread)
    sheets = [sheet(table, spread) for table in tables(Shape())]
    assert len(sheets) == len(models())
    for one, board in zip(sheets, models(), strict=True):
        assert f"{one.title} · ".startswith(f"{' · '.join(board)} · ")
    assert from_markdown("\n".join(map(markdown, sheets))) == expected
    assert from_latex("\n".join(map(latex, sheets))) == expected
    assert from_html(as_html("T", sheets)) == expected
    cell = re.compile(r"−?\d+\.\d+(?: ± \d+\.\d+| \[.+?\])? \(\d+\)|–")
    for one, lines in zip(sheets, expected, strict=True):
        file = io.StringIO()
        Console(file=file, width=1000, color_system=None).print(terminal(one))
        printed = file.getvalue().splitlines()[2 : 1 + len(lines)]
        for line, ((name, _), *cells) in zip(printed, lines[1:], strict=True):
            assert line.strip().startswith(f"{name} ")
            assert cell.findall(line) == [shown for shown, _ in cells]


def test_several_values_below_each_attack(tables: Callable[[Shape], list[Table]]) -> None:
    found = tables(PRESETS["table2"])
    expected = [
        models_by_attacks(protocol, defense)
        for protocol in sorted({key[0] for key in published()})
        for defense in sorted(
            {key[3] for key in published() if key[0] == protocol}, key=lambda name: (name != "none", name)
        )
    ]
    assert from_markdown("\n".join(markdown(sheet(table)) for table in found)) == expected
    assert from_latex("\n".join(latex(sheet(table)) for table in found)) == expected


@pytest.mark.parametrize("value", VALUES)
def test_every_value_in_the_formats_for_programs(tables: Callable[[Shape], list[Table]], value: str) -> None:
    found = tables(Shape(values=(value,)))
    lines = list(csv.DictReader(long_form.as_csv(found).splitlines()))
    objects = [cell for table in long_form.document(found) for cell in table["cells"]]
    expected = {key: entry for key in published() if (entry := numbers(key, value))}
    keys = [(line["protocol"], line["model"], line["attack"], line["defense"]) for line in lines]
    assert sorted(keys) == sorted(expected)
    for key, line, cell in zip(keys, lines, objects, strict=True):
        entry = expected[key]
        mean, std = statistics.fmean(entry), statistics.stdev(entry)
        assert float(line["mean"]) == cell["mean"] == pytest.approx(mean, rel=1e-12, abs=1e-12)
        assert float(line["std"]) == cell["std"] == pytest.approx(std, rel=1e-9, abs=1e-9)
        assert int(line["n"]) == cell["n"] == len(entry)
        if (half := half_width(entry)) is not None:
            assert cell["interval"] == pytest.approx((mean - half, mean + half), rel=1e-9, abs=1e-9)
            assert [float(line["low"]), float(line["high"])] == list(cell["interval"])
        else:
            assert (cell["interval"], line["low"], line["high"]) == (None, "", "")
        assert (cell["value"], cell["epsilon"], cell["attack"]["name"], cell["defense"]["name"]) == (
            value,
            0.03,
            key[2].removesuffix(KNOWS),
            key[3],
        )
        assert json.loads(line["attack_params"]) == cell["attack"]["params"] == published()[key][0]["attack"]["params"]
        assert line["mark"] == (cell["mark"] or "")
        trusted = numbers(key, "trusted")
        assert (line["trusted"], cell["trusted"]) == ((f"{trusted[0]:.0f}", trusted[0]) if trusted else ("", None))
        knows = key[3] in ("early-stopping", "influence", "trusted-only")
        assert cell["family"] == ("with trusted data" if knows else "without trusted data")


def test_marks_are_those_of_the_formats_for_people(tables: Callable[[Shape], list[Table]]) -> None:
    found = {
        (line["protocol"], line["model"], line["attack"], line["defense"]): line["mark"]
        for line in csv.DictReader(long_form.as_csv(tables(Shape())).splitlines())
    }
    shown = {
        (*board, line[0][0], defense): mark
        for board, (_, *lines) in zip(models(), boards(), strict=True)
        for line in lines
        for defense, (_, mark) in zip(defenses(*board), line[1:], strict=True)
    }
    assert {key: mark for key, mark in shown.items() if key in found} == found
    answered = any(records[0]["metrics"]["answers"] for records in published().values())
    assert set(found.values()) == ({"best", "tied", ""} if answered else {""})

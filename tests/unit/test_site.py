"""The site built from a part of the published records and from planted ones: every page, link and number of it."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scipy.stats import t as student

from poisonbench.leaderboard.site.build import Sources, build
from poisonbench.leaderboard.site.catalogue import catalogue
from poisonbench.leaderboard.site.gallery import poison_of
from poisonbench.leaderboard.site.printed import PaperSetup, Printed
from poisonbench.leaderboard.site.settings import command
from poisonbench.store.record import Record
from poisonbench.store.record_results import Metrics

HOSTILE = "<script>window.hacked=1</script>\"'><img src=x onerror=window.hacked=1>{{ 7*7 }}"
MATRIX = "Every attack against every defense"
FORMULA = '=HYPERLINK("http://example.com")'
Data = Callable[[Path, str], dict[str, Any]]
VOID = {"meta", "link", "img", "br", "hr", "input", "line", "circle", "path", "use", "rect"}


def variant(base: Record, **changes: Any) -> Record:
    """A record like another, but for some fields; mappings are merged."""
    fields = base.document()
    fields.pop("record_id")
    for key, value in changes.items():
        merge = isinstance(value, dict) and isinstance(fields[key], dict)
        fields[key] = {**fields[key], **value} if merge else value
    return Record.create(**{"cell_hash": hashlib.sha256(repr(changes).encode()).hexdigest(), **fields})


@pytest.fixture(scope="module")
def ours(published_records: tuple[Record, ...]) -> list[Record]:
    """Three attacks against three defenses on three boards."""
    attacks, defenses = ("tgda", "label-flip", "back-gradient"), ("none", "loss", "influence")
    protocols = ("digits-v1", "digits-v2", "mnist-v1")
    found = [
        record
        for record in published_records
        if record.protocol.name in protocols and record.model.name == "lr" and record.seeds.run < 3
        if record.attack.name in attacks and record.defense.name in defenses
    ]
    return sorted(found, key=lambda record: (record.protocol.name, record.record_id))


@pytest.fixture(scope="module")
def planted(ours: list[Record], verify: Callable[..., Record]) -> dict[str, Record]:
    """One record of every kind that is no plain one."""
    base = next(one for one in ours if (one.attack.name, one.defense.name) == ("tgda", "none") and not one.seeds.run)
    failed = {"status": "failed", "error": f"{FORMULA} {HOSTILE}", "metrics": None}
    return {
        "single": variant(base, attack={"name": "TGDA"}),
        "path": variant(base, attack={"name": "a/../../../evil"}),
        "long": variant(base, attack={"name": "x" * 100}),
        "hostile": variant(
            base,
            attack={"name": "hostile", "params": {HOSTILE: HOSTILE}, "release": HOSTILE, "distribution": HOSTILE},
            environment={"cpu": HOSTILE},
            attack_stats={HOSTILE: HOSTILE},
            provenance={"source": "submission"},
            defense={"params": {HOSTILE: [1, HOSTILE]}, "name": "hostile-too"},
        ),
        "hostile label": variant(base, attack={"name": "hostile", "params": {HOSTILE: "mild"}}),
        "unranked": variant(base, protocol={"deviations": [f"recipe.epochs: 100 → 5 {HOSTILE}", FORMULA]}),
        "own": variant(base, protocol={"name": "my-protocol", "locked": False}),
        "failed": variant(base, attack={"name": "breaks"}, **failed),
        "timeout": variant(base, attack={"name": "slow"}, **{**failed, "status": "timeout"}),
        "oom": variant(base, attack={"name": "large"}, **{**failed, "status": "oom"}),
        "verified": verify(variant(base, attack={"name": "vouched"})),
        "signed": verify(
            variant(base, attack={"name": "stranger"}), key=Ed25519PrivateKey.from_private_bytes(b"2" * 32)
        ),
        "superseded": variant(base, finished_at="2020-01-01T00:00:00Z"),
        "unlearnable": variant(
            base,
            protocol={"name": "digits-unlearnable-v1"},
            threat={"mode": "perturbation", "epsilon": 1.0, "n_poison": base.threat.denominator},
        ),
        "no classes": variant(base, attack={"name": "rises"}, metrics=Metrics.of(90.0, 90.001).model_dump()),
    }


@pytest.fixture(scope="module")
def records(ours: list[Record], planted: dict[str, Record]) -> list[Record]:
    """All of them, some twice."""
    return [*ours, *planted.values(), *ours[:5]]


@pytest.fixture(scope="module")
def sources(records: list[Record]) -> Sources:
    """With what the paper prints of one attack, and pictures of one attack's poison sets."""
    base = next(one for one in records if (one.attack.name, one.defense.name) == ("label-flip", "none"))

    def paint(record: Record) -> tuple[bytes, str] | None:
        return (b"\x89PNG", HOSTILE) if record.attack.name == "tgda" else None

    return Sources(records, {PaperSetup.of(base): Printed(-1.234, "Table 2")}, paint)


@pytest.fixture(scope="module")
def site(sources: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder."""
    return build(sources, tmp_path_factory.mktemp("site") / "out").parent


class Page(HTMLParser):
    """A page as a browser sees it: elements with attributes and their text."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        super().__init__()
        self.path = path
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = defaultdict(list)
        self.open: list[str] = []
        self.rows: dict[str, list[list[str]]] = defaultdict(list)
        self._table = ""
        self._cell = False
        self.feed(path.read_text("utf-8") if text is None else text)
        self.close()
        assert self.open == [], f"{path} leaves {self.open} open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in VOID:
            return
        self.open.append(tag)
        if tag in ("h1", "h2"):
            self._table = ""
            self.text[tag].append("")
        if tag == "tr":
            self.rows[self._table].append([])
        if tag in ("th", "td"):
            self.rows[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"{self.path}: </{tag}> too much"
        assert self.open[-1] == tag, f"{self.path}: {tag} inside {self.open}"
        self.open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        self.text["all"].append(data)
        if {"h1", "h2"} & set(self.open):
            heading = "h1" if "h1" in self.open else "h2"
            self.text[heading][-1] += data
            self._table = self.text[heading][-1]
        elif {"th", "td"} & set(self.open):
            self.rows[self._table][-1][-1] += data
        self.text[tag].append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        """Attributes of every element of that name."""
        return (attributes for name, attributes in self.elements if name == tag)

    @property
    def ids(self) -> list[str]:
        """In order."""
        return [str(attributes["id"]) for _, attributes in self.elements if "id" in attributes]

    def table(self, heading: str) -> dict[str, list[str]]:
        """Rows of the table below a heading, by row header."""
        rows = reversed(self.rows[heading][1:])  # what is not ranked comes last, and gives way to its namesake
        return {row[1] if heading.startswith(("Attacks", "Defenses")) else row[0]: row for row in rows}

    @property
    def said(self) -> str:
        """All of its text, on one line."""
        return " ".join(" ".join(self.text["all"]).split())


@pytest.fixture(scope="module")
def pages(site: Path, record_pages: Callable[[Path], dict[str, str]]) -> dict[str, Page]:
    """By path; those of records, which a script puts together, as records/ID.html."""
    found = {str(path.relative_to(site)): Page(path) for path in sorted(site.rglob("*.html"))}
    shell = (site / "record.html").read_text("utf-8")
    before, after = shell[: shell.index('<div id="record"')], shell[shell.index("</main>") :]
    for record_id, text in record_pages(site).items():
        found[f"records/{record_id}.html"] = Page(site / "record.html", before + text + after)
    return found


def board_of(pages: dict[str, Page], name: str) -> Page:
    return pages[f"boards/{name}.html"]


def test_every_link_leads_somewhere(site: Path, pages: dict[str, Page], board_data: Data) -> None:
    seen, shown = 0, set[str]()
    for board in (site / "boards").iterdir():
        shown.update(f"{board.stem}/{record_id}" for record_id in board_data(site, board.stem)["records"])
    for page in pages.values():
        for _, attributes in page.elements:
            for target in (attributes.get("href"), attributes.get("src")):
                if target is None or target.startswith("data:image/svg+xml,"):
                    continue
                if attributes.get("rel") == "external noopener noreferrer":
                    assert target.startswith("https://"), target
                    continue
                assert not re.match(r"[a-z]+:|//", target), f"{page.path} leaves the site: {target}"
                path, fragment = urldefrag(unquote(target))
                found = (page.path.parent / path).resolve() if path else page.path
                assert found.is_relative_to(site.resolve()), target
                assert found.is_file(), f"{page.path}: {target}"
                if found.name == "record.html" and fragment:
                    assert fragment in shown | {"content"}, f"{page.path}: {target}"
                elif fragment and "=" not in fragment and found.suffix == ".html":
                    assert fragment in pages[str(found.relative_to(site.resolve()))].ids, f"{page.path}: {target}"
                seen += 1
    assert seen > 1000


def test_every_page_is_sound(pages: dict[str, Page]) -> None:
    titles = [page.text["title"][0] for path, page in pages.items() if not path.startswith("records/")]
    assert len(set(titles)) == len(titles)
    for page in pages.values():
        assert len(page.ids) == len(set(page.ids)), page.path
        assert len(list(page.all("h1"))) == 1
        assert page.text["title"][0].strip()
        assert next(page.all("html"))["lang"] == "en"
        names = {attributes.get("name"): attributes.get("content") for attributes in page.all("meta")}
        assert names["viewport"]
        assert names["description"]
        tables, captions = len(list(page.all("table"))), len(list(page.all("caption")))
        assert tables == captions, page.path
        assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th")), page.path
        assert all(attributes.get("alt") for attributes in page.all("img"))
        labelled = {attributes["for"] for attributes in page.all("label")}
        assert {attributes["id"] for attributes in page.all("select")} == labelled
        csp = next(one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
        assert csp
        assert csp.startswith("default-src 'none';")
        assert "http" not in csp
        assert "script-src 'self';" in csp


def test_nothing_that_a_record_says_becomes_markup(pages: dict[str, Page], site: Path) -> None:
    said = 0
    for page in pages.values():
        assert all(set(attributes) <= {"src", "defer"} for attributes in page.all("script")), page.path
        assert "window.hacked" not in " ".join(page.text["script"])
        for tag, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on")], (page.path, tag)
            assert "javascript:" not in "".join(value or "" for value in attributes.values())
        said += HOSTILE in "".join(page.text["all"])
    assert said >= 8
    assert not any("<" in path.read_text("utf-8") for path in (site / "data").glob("*.js"))


def test_names_that_look_alike_or_like_paths_have_pages_of_their_own(site: Path, pages: dict[str, Page]) -> None:
    titles = defaultdict(list)
    for path, page in pages.items():
        if path.startswith("attacks/"):
            titles[page.text["h1"][0]].append(path)
    assert {"tgda", "TGDA", "a/../../../evil", "x" * 100} <= set(titles)
    assert all(len(paths) == 1 for paths in titles.values())
    assert titles["tgda"] == ["attacks/tgda.html"]
    folders = {str(path.parent.relative_to(site)) for path in site.rglob("*.html")}
    assert folders == {".", "attacks", "boards", "defenses"}


def interval(records: list[Record], *others: list[Record]) -> str:
    """The mean drop of records, by seed, or of several such lists; ± half of the 95 % interval by an analysis of
    variance where all have answers, as printed."""
    every = [records, *others]
    mean = statistics.fmean(one.metrics.drop for of in every for one in of if one.metrics)
    tables = [_lost(of) for of in every]
    if any(table is None for table in tables):
        return shown(mean)
    table = np.mean(tables, axis=0)
    n, m = table.shape
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    interaction = (left**2).sum() / (n - 1) / (m - 1) / n / m
    of_images = max(0.0, table.mean(axis=0).var(ddof=1) / m - interaction) + (100 / m) ** 2
    of_seeds = table.mean(axis=1).var(ddof=1) / n
    half = math.sqrt(student.ppf(0.975, n - 1) ** 2 * of_seeds + student.ppf(0.975, m - 1) ** 2 * of_images)
    return f"{shown(mean)} ± {shown(half)}"


def _lost(records: list[Record]) -> Any:
    """Points that each image adds to the drop, (seeds, images); None without answers."""
    answers = [one.metrics.answers for one in records if one.metrics]
    if None in answers:
        return None
    bits = [
        [np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8)) for text in (one.clean, one.attacked)]
        for one in answers
        if one
    ]
    images = records[0].dataset.n_test
    return np.array([100.0 * (clean[:images].astype(int) - attacked[:images]) for clean, attacked in bits])


def shown(value: float) -> str:
    text = f"{value:.2f}".replace("-", "−")
    return "0.00" if text == "−0.00" else text


@pytest.mark.parametrize("name", ["mnist-v1-lr-0.03-earlier-code", "digits-v1-lr-0.03"])
def test_numbers_are_those_of_the_records(pages: dict[str, Page], ours: list[Record], name: str) -> None:
    protocol = name.removesuffix("-earlier-code").removesuffix("-lr-0.03")
    found: dict[tuple[str, str], dict[int, Record]] = defaultdict(dict)
    drops: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    clean: dict[str, dict[int, float]] = defaultdict(dict)
    for record in ours:
        if record.protocol.name == protocol and record.metrics:
            key = record.attack.name, record.defense.name
            found[key][record.seeds.run] = record
            drops[key][record.seeds.run] = record.metrics.acc1 - record.metrics.acc2
            assert record.metrics.acc1_defended is not None
            clean[record.defense.name][record.seeds.run] = record.metrics.acc1 - record.metrics.acc1_defended
    page = board_of(pages, name)
    attacks, matrix = page.table("Attacks"), page.table(MATRIX)
    without, knowing = page.table("Defenses without trusted data"), page.table("Defenses with trusted data")
    assert {"none", "loss"} <= set(without)
    assert set(knowing) == {"influence"}
    defenses = {**without, **knowing}
    head = page.rows[MATRIX][0]
    for (attack, defense), by_seed in drops.items():
        printed = interval([found[attack, defense][seed] for seed in range(3)])
        assert " ".join(matrix[attack][head.index(defense)].split()) == printed
        if defense == "none":
            assert attacks[attack][2].strip() == printed
            assert attacks[attack][5] == "3"
            assert attacks[attack][4] == shown(statistics.stdev(by_seed.values()))
    yardstick = sorted({attack for attack, _ in drops})
    for defense in ("none", "loss", "influence"):
        left = [[found[attack, defense][seed] for seed in range(3)] for attack in yardstick]
        assert defenses[defense][2] == interval(*left)
        assert defenses[defense][4] == shown(statistics.fmean(clean[defense][seed] for seed in range(3)))
        worst = max(yardstick, key=lambda attack: statistics.fmean(drops[attack, defense].values()))
        assert defenses[defense][5] == worst
        assert defenses[defense][6].split(" ")[0] == shown(statistics.fmean(drops[worst, defense].values()))


def test_trusted_rows_are_on_the_pages_of_board_method_and_record(
    pages: dict[str, Page], ours: list[Record], site: Path
) -> None:
    detail = {record.record_id: record.defense_detail for record in ours if record.protocol.name == "digits-v2"}
    assert {one.trusted for one in detail.values() if one} == {0, 13}
    page = board_of(pages, "digits-v2-lr-0.03")
    knowing, without = page.table("Defenses with trusted data"), page.table("Defenses without trusted data")
    head = page.rows["Defenses with trusted data"][0].index("trusted rows")
    assert {name: row[head] for name, row in knowing.items()} == {"influence": "13"}
    assert {"loss", "none"} <= set(without)
    assert "trusted rows" not in page.rows["Defenses without trusted data"][0]
    before = board_of(pages, "digits-v1-lr-0.03").table("Defenses with trusted data")
    assert before["influence"][head] == "389"  # all of D_v, as those records say that count their rows
    for verdict in ("with", "without"):
        assert f"Defense that holds best, {verdict} trusted data" in page.text["dt"]
    standings = pages["defenses/influence.html"].rows["Standings"]
    at, family = standings[0].index("trusted rows"), standings[0].index("family")
    assert {row[0].split(" ")[0]: row[at] for row in standings[1:]}.items() >= {
        ("digits-v2", "13"),
        ("digits-v1", "389"),
    }
    assert {row[family] for row in standings[1:]} == {"with trusted data"}
    for record_id, one in detail.items():
        told = pages[f"records/{record_id}.html"].said
        assert one is not None
        assert f"trusted rows that it was shown {one.trusted} " in told
        assert "the defender's own rows 13 " in told
    boards = json.loads((site / "data" / "boards.json").read_text("utf-8"))["boards"]
    (board,) = (board for board in boards if board["name"] == "digits-v2-lr-0.03")
    assert {(one["defense"], one["family"], one["trusted"]) for one in board["defenses"]} >= {
        ("influence", "with trusted data", 13), ("loss", "without trusted data", 0), ("none", "without trusted data", 0)
    }  # fmt: skip


def test_the_worst_attack_is_on_the_pages_of_board_and_defense(
    sources: Sources, site: Path, pages: dict[str, Page], tmp_path: Path
) -> None:
    """What sorts the column is the drop; the order that was asked for is that of the rows."""
    document = json.loads((site / "data" / "boards.json").read_text("utf-8"))
    (board,) = (board for board in document["boards"] if board["name"] == "digits-v2-lr-0.03")
    rows = board_of(pages, "digits-v2-lr-0.03").table("Defenses without trusted data")
    told = {one["defense"]: one["worst"] for one in board["defenses"]}
    assert told["loss"]["drop"]["interval"] is not None
    for name, row in rows.items():
        drop = told[name]["drop"]
        low, high = map(shown, drop["interval"])
        assert row[5:7] == [told[name]["attack"], f"{shown(drop['mean'])} [{low}, {high}]"]
    standings = pages["defenses/loss.html"].rows["Standings"]
    at = standings[0].index("worst attack")
    (own,) = (row for row in standings[1:] if row[0].startswith("digits-v2"))
    assert own[at : at + 2] == rows["loss"][5:7]
    sorted_by = re.findall(
        r'data-order="(-?[\d.]+)">[−\d.]+ <small>\[', (site / "defenses/loss.html").read_text("utf-8")
    )
    assert str(told["loss"]["drop"]["mean"]) in sorted_by
    again = build(Sources(sources.records, order="worst"), tmp_path / "worst").parent
    ordered = json.loads((again / "data" / "boards.json").read_text("utf-8"))
    assert (document["order"], ordered["order"]) == ("mean", "worst")
    for board in ordered["boards"]:
        for trust in ("with", "without"):
            family = [one for one in board["defenses"] if one["family"] == f"{trust} trusted data" and one["worst"]]
            drops = [(one["rank"] is None, one["worst"]["drop"]["mean"]) for one in family]
            assert drops == sorted(drops)
    page = (again / "boards" / "digits-v2-lr-0.03.html").read_text("utf-8")
    assert "<caption>In the order of the worst attack. Ranks are by points left, by the same test" in page


def test_the_strongest_comes_first_and_is_not_on_the_index_if_it_is_not_ranked(
    pages: dict[str, Page], ours: list[Record]
) -> None:
    undefended = defaultdict(list)
    for record in ours:
        if record.protocol.name == "mnist-v1" and record.defense.name == "none" and record.metrics:
            undefended[record.attack.name].append(record)
    order = sorted(
        undefended, key=lambda attack: -statistics.fmean(one.metrics.drop for one in undefended[attack] if one.metrics)
    )
    page = board_of(pages, "mnist-v1-lr-0.03-earlier-code")
    assert [row[1] for row in page.rows["Attacks"][1:4]] == order
    assert [row[0] for row in page.rows["Attacks"][1:4]] == ["–"] * 3
    assert f"{interval(undefended[order[0]])} points" not in pages["index.html"].said


def test_the_index_says_who_leads_each_board(seeds: Callable[..., list[Record]], tmp_path: Path) -> None:
    """A leader, a group of those that cannot be told apart, and a draw of nothing."""
    strong = [*seeds("tgda", [30.0, 30.5, 31.0]), *seeds("min-max", [5.0, 5.5, 6.0])]
    group = [*strong, *seeds("emn", [29.5, 30.5, 31.0])]
    nothing = [*seeds("tgda", [0.5, -0.5, 0.0]), *seeds("emn", [-0.5, 0.0, 0.5])]
    for records, finding in (
        (strong, r"tgda leads: [\d.]+ ± [\d.]+ points, ahead of the other\."),
        (group, r"tgda and 1 other lead together, not told apart: [\d.]+ ± [\d.]+ points, ahead of 1 more\."),
        (nothing, r"None of 2 attacks is told from no effect; (tgda|emn) is first with 0\.00 ± [\d.]+ points\."),
    ):
        said = Page(build(Sources(records), tmp_path / "site")).said
        assert re.search(finding, said), said


def test_what_is_not_ranked_is_seen_and_counts_for_nothing(pages: dict[str, Page], planted: dict[str, Record]) -> None:
    name = planted["single"].protocol.name
    rows = board_of(pages, f"{name}-lr-0.03").table("Attacks")
    assert rows["TGDA"][0] == "–"
    assert "1 of 3 seeds" in rows["TGDA"][-1]
    for attack, badge in {"breaks": "failed", "slow": "timed out", "large": "out of memory"}.items():
        assert rows[attack][0] == "–"
        assert badge in rows[attack][-1]
    assert "verified" in rows["vouched"][-2]
    assert "self-reported" in rows["stranger"][-2]
    assert rows["rises"][2].strip() == "0.00"  # not −0.00
    unranked = board_of(pages, f"{name}-lr-0.03").rows["Not ranked"][1:]
    assert [HOSTILE in row[4] for row in unranked] == [True]
    assert "unranked" in board_of(pages, "my-protocol-lr-0.03").table("Attacks")["tgda"][-1]
    assert "unlearnable examples" in "".join(pages["boards/digits-unlearnable-v1-lr-1-unlearnable.html"].text["p"])


def test_the_paper_stands_beside_ours_where_it_prints_the_same(pages: dict[str, Page], records: list[Record]) -> None:
    base = next(one for one in records if (one.attack.name, one.defense.name) == ("label-flip", "none"))
    protocol = base.protocol.name
    rows = board_of(pages, f"{protocol}-lr-0.03").table("Attacks")
    head = board_of(pages, f"{protocol}-lr-0.03").rows["Attacks"][0]
    assert rows["label-flip"][head.index("paper")].split() == ["−1.23", "Table", "2"]
    assert rows["tgda"][head.index("paper")] == "–"


def test_a_record_s_page_says_all_of_it(pages: dict[str, Page], ours: list[Record], planted: dict[str, Record]) -> None:
    record = next(one for one in ours if (one.attack.name, one.defense.name) == ("back-gradient", "influence"))
    page = pages[f"records/{record.record_id}.html"]
    text = page.said
    assert record.metrics
    assert f"{record.metrics.acc1:.2f} %" in text
    assert f"drop {shown(record.metrics.drop)} " in text
    for kind in ("attack", "defense"):
        for key, value in getattr(record, kind).params.items():
            assert f"{key} {value if isinstance(value, str) else json.dumps(value)}" in text
    for artifact in record.artifacts:
        assert artifact.sha256 in text
    assert command(record) in text
    assert "@inproceedings{munoz2017towards" in text
    assert "@inproceedings{koh2017understanding" in text
    assert "@software{poisonbench" in text
    assert record.environment.torch in text
    assert HOSTILE in pages[f"records/{planted['failed'].record_id}.html"].said
    superseded = pages[f"records/{planted['superseded'].record_id}.html"]
    assert "superseded" in superseded.text["span"]


def test_a_record_s_page_says_how_training_went(pages: dict[str, Page], ours: list[Record]) -> None:
    """The drop without the defense by three rules, each computed from the trajectory; and the attack's own curves."""
    record = next(one for one in ours if one.protocol.name == "digits-v2" and one.attack.name == "tgda")
    page, trained, metrics = pages[f"records/{record.record_id}.html"], record.trajectories, record.metrics
    assert trained
    assert metrics
    assert metrics.acc2_undefended is not None
    last = [index for index, epoch in enumerate(trained.epochs) if epoch > 0.75 * trained.epochs[-1]]
    quarter = statistics.fmean(trained.clean[index] - trained.poisoned[index] for index in last)
    assert {row[0]: row[1] for row in page.rows["Drop without a defense"]} == {
        "at the end": shown(metrics.acc1 - metrics.acc2_undefended),
        "mean of the last quarter": shown(quarter),
        "best epoch of each": shown(max(trained.clean) - max(trained.poisoned)),
    }
    titles = [title for title in page.text["title"] if "percent" in title or "ran" in title]
    assert titles[0].startswith(f"Test accuracy by epoch: {trained.clean[-1]:.2f} percent at the end")
    assert "validation loss while the attack ran" in titles
    assert "trace" not in page.said


def test_a_method_s_page_says_where_it_stands_and_what_it_is(pages: dict[str, Page]) -> None:
    page = pages["attacks/tgda.html"]
    assert "TGDA in poisonbench.attacks.tgda.attack" in page.said
    assert "Ranked on " in page.said
    outside = [link["href"] for link in page.all("a") if link.get("rel")]
    assert outside == ["https://arxiv.org/abs/2204.09092"]


def test_caveats_and_the_way_in_are_where_the_numbers_are(pages: dict[str, Page]) -> None:
    board = board_of(pages, "digits-v2-lr-0.03").said
    assert "Keep in mind" in board
    assert "908 rows are few" in board
    assert "One of 500 test images is 0.2 points." in board
    assert "Earlier versions of the code" in board_of(pages, "mnist-v1-lr-0.03-earlier-code").said
    assert "are few" not in board_of(pages, "mnist-v1-lr-0.03-earlier-code").said
    for page in pages.values():
        assert [link for link in page.all("a") if (link["href"] or "").endswith("about.html#add-results")], page.path


def test_every_record_of_a_poison_set_shows_its_picture(site: Path, pages: dict[str, Page], ours: list[Record]) -> None:
    painted = [path.stem for path in (site / "gallery").iterdir()]
    with_poison = {one.record_id: poison_of(one) for one in ours}
    for record_id, poison in with_poison.items():
        has = any(pages[f"records/{record_id}.html"].all("img"))
        assert has == any(with_poison.get(name) == poison for name in painted)
    assert HOSTILE in "".join(pages["attacks/tgda.html"].text["figcaption"])


def test_downloads_hold_every_record_in_full(site: Path, records: list[Record]) -> None:
    by_id = {record.record_id: record for record in records}
    rows = list(csv.DictReader(io.StringIO(gzip.decompress((site / "data" / "records.csv.gz").read_bytes()).decode())))
    assert {row["record_id"] for row in rows} == set(by_id)
    assert len(rows) == len(by_id)
    for row in rows:
        record = by_id[row["record_id"]]
        assert float(row["epsilon"]) == record.threat.epsilon
        if record.metrics:
            assert float(row["drop"]) == record.metrics.drop  # a negative one is a number, not a formula
        assert not [cell for key, cell in row.items() if cell.startswith(("=", "+", "@", "\t", "\r"))]
    assert any(row["error"].startswith(f"'{FORMULA}") for row in rows)
    documents = json.loads(gzip.decompress((site / "data" / "records.json.gz").read_bytes()))
    assert {one.record_id: one for one in map(Record.read, documents)} == by_id
    assert len(documents) == len(by_id)
    boards = json.loads((site / "data" / "boards.json").read_text("utf-8"))["boards"]
    assert {f"{board['name']}.html" for board in boards} == {path.name for path in (site / "boards").iterdir()}


def test_the_table_of_all_records_has_a_row_for_each(site: Path, records: list[Record], board_data: Data) -> None:
    rows = board_data(site, "records")["rows"]
    assert {row[0] for row in rows} == {record.record_id for record in records}
    for row in rows:
        assert row[0] in board_data(site, row[14])["records"]
        for folder, name in (("boards", row[14]), ("attacks", row[15]), ("defenses", row[16])):
            assert (site / folder / f"{name}.html").is_file()


def test_a_record_makes_no_file(site: Path, pages: dict[str, Page], records: list[Record]) -> None:
    """Thousands of them would be a site that nobody can publish: there is a page and a data file a board."""
    boards = {path.stem for path in (site / "boards").iterdir()}
    assert {path.stem for path in (site / "data").glob("*.js")} == boards | {"records"}
    pages_alone = [path for path in pages if not path.startswith("records/")]
    files = [path for path in site.rglob("*") if path.is_file() and path.suffix != ".png"]
    assert len(files) == len(pages_alone) + len(boards) + len(list((site / "assets").iterdir())) + 5
    assert len(records) > len(boards) + 5


def test_the_same_records_give_the_same_bytes(sources: Sources, site: Path, tmp_path: Path) -> None:
    shuffled = Sources(list(reversed(list(sources.records))), sources.paper, sources.paint)
    again = build(shuffled, tmp_path / "again").parent
    files = {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    assert files == {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}


def test_what_is_alone_leads_nothing(seeds: Callable[..., list[Record]], tmp_path: Path) -> None:
    """One attack against no defense, with every seed of the protocol: there is nobody to be ahead of."""
    undefended = seeds("tgda", [3.0, 4.0, 5.0])
    index = build(Sources(undefended), tmp_path / "site").read_text("utf-8")
    assert "1 attack × 1 defense, 3 seeds, 3 records." in index
    assert "no other attack is ranked yet." in index
    assert " lead" not in index[index.index("<article") : index.index("</article>")]
    alone = build(Sources(undefended[:1]), tmp_path / "alone").read_text("utf-8")
    assert "1 attack × 1 defense, 1 seed, 1 record." in alone


def test_a_site_of_nothing_says_so(tmp_path: Path) -> None:
    index = build(Sources([]), tmp_path / "empty")
    assert "No records yet" in index.read_text("utf-8")


def test_the_catalogue_counts_a_record_once(records: list[Record]) -> None:
    found = catalogue(records)
    assert len(found.records) == len({record.record_id for record in records}) < len(records)
    assert found.date == max(record.finished_at for record in records)[:10]


def test_a_verified_record_shows_what_was_measured_and_what_was_submitted(
    pages: dict[str, Page], planted: dict[str, Record]
) -> None:
    for kind, signer in (("verified", "Ada"), ("signed", "a key that is not trusted, ")):
        record = planted[kind]
        page = pages[f"records/{record.record_id}.html"]
        facts = {row[0]: row[1] for row in page.rows["Submitted"]}
        assert facts["measured and signed by"].startswith(signer)
        assert facts["submitted acc1, acc2"] == "90.00 %, 81.00 %"
        assert facts["submitted drop"] == "9.00"
        assert record.metrics
        assert f"{record.metrics.drop:.2f}" in page.said
        assert ("verified" in page.said.partition("Superseded")[0].partition("drop")[0]) == (kind == "verified")

"""What the site is made with, part by part."""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poisonbench.attacks.tgda.attack import TGDA
from poisonbench.cli.printed_drops import printed_drops
from poisonbench.errors import StoreError, UsageError
from poisonbench.leaderboard.boards import boards
from poisonbench.leaderboard.comparison import compare
from poisonbench.leaderboard.declarations import declaration
from poisonbench.leaderboard.site import bundle, numbers
from poisonbench.leaderboard.site.board_view import view
from poisonbench.leaderboard.site.compare_data import families
from poisonbench.leaderboard.site.curves_svg import Line, figure
from poisonbench.leaderboard.site.folder import MARKER, replacing
from poisonbench.leaderboard.site.links import paper, repository
from poisonbench.leaderboard.site.method_view import Standing
from poisonbench.leaderboard.site.method_view import views as method_views
from poisonbench.leaderboard.site.order import in_order
from poisonbench.leaderboard.site.packed import script
from poisonbench.leaderboard.site.pairs import pairs
from poisonbench.leaderboard.site.printed import Printed
from poisonbench.leaderboard.site.record_facts import shortened, table
from poisonbench.leaderboard.site.rendering import some, ticked
from poisonbench.leaderboard.site.scale import Scale
from poisonbench.leaderboard.site.server import server
from poisonbench.leaderboard.site.siblings import switches
from poisonbench.leaderboard.site.slugs import LONGEST, slugs
from poisonbench.leaderboard.statistics.summaries import summary
from poisonbench.leaderboard.tables.sheet_csv import csv_text
from poisonbench.plugins.registry import entries, load
from poisonbench.store.canonical import canonical_json, plain
from poisonbench.store.strict_yaml import parse_yaml

ASSETS = Path(__file__).resolve().parents[2] / "leaderboard" / "site" / "assets"
TRICKY = ["tgda", "TGDA", "Tgda", "con", "nul.txt", "..", "a/b", "a-b", "", "é", "x" * 300, "X" * 300, "a.", ".a", " a"]


@given(st.sets(st.text(max_size=120) | st.sampled_from(TRICKY), max_size=30))
@settings(deadline=None, max_examples=60)
def test_slugs_are_safe_and_each_is_its_own(names: set[str]) -> None:
    found = slugs({name: name for name in names})
    assert set(found) == names
    assert len({slug.lower() for slug in found.values()}) == len(names)
    for slug in found.values():
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", slug)
        assert len(slug) <= LONGEST
        assert not slug.endswith(".")
        assert slug.split(".")[0] not in ("con", "prn", "aux", "nul")


def test_a_plain_name_keeps_its_slug_whoever_imitates_it() -> None:
    names = {"TGDA", "tgda", "loss+maxup"}
    imitation = slugs({name: name for name in names})["TGDA"]
    found = slugs({name: name for name in names | {imitation}})
    assert found["tgda"] == "tgda"
    assert found[imitation] == imitation
    assert found["TGDA"] not in ("tgda", imitation)
    assert found["loss+maxup"].startswith("loss-maxup-")


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    with replacing(folder) as new:
        (new / "index.html").write_text("first")
        assert not folder.exists()
    with pytest.raises(KeyboardInterrupt), replacing(folder) as new:
        _interrupted(new)
    assert (folder / "index.html").read_text() == "first"
    with replacing(folder) as new:
        (new / "other.html").write_text("third")
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, "other.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["site"]  # nothing is left beside it


def _interrupted(new: Path) -> None:
    (new / "index.html").write_text("second")
    raise KeyboardInterrupt


def test_a_kill_leaves_the_old_site(tmp_path: Path) -> None:
    """A killed process runs no handlers: what is left is its temporary folder."""
    folder = tmp_path / "site"
    with replacing(folder) as new:
        (new / "index.html").write_text("first")
    abandoned = replacing(folder)
    (abandoned.__enter__() / "index.html").write_text("half")
    assert (folder / "index.html").read_text() == "first"
    with replacing(folder) as new:
        (new / "index.html").write_text("second")
    assert (folder / "index.html").read_text() == "second"


@pytest.mark.parametrize("what", ["files", "file", "link"])
def test_what_was_not_made_here_is_not_replaced(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "mine"
    if what == "files":
        folder.mkdir()
        (folder / "thesis.tex").write_text("years of work")
    elif what == "file":
        folder.write_text("years of work")
    else:
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="Choose another --output"), replacing(folder):
        pytest.fail("nothing may be started")
    assert folder.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one_line = pytest.raises(StoreError, match=r"Cannot write the site to .*Choose another --output")
    with one_line, replacing(tmp_path / "file" / "site"):
        pytest.fail("nothing may be started")


def test_the_bundle_becomes_a_classic_script() -> None:
    found = bundle.script()
    assert not re.search(r"\bexport\s*\{", found)
    assert re.search(r"window\.DataTable = \w+;\n\}\)\(\);\n\Z", found)
    assert bundle.classic("var a=1;export{a as default,b as c};/* legal */").endswith("window.DataTable = a;\n})();\n")


@pytest.mark.parametrize(
    "module",
    [
        "var a=1;",
        "export{a as b};",
        "export{a as default};export{b as c};",
        "import x from 'y';export{x as default};",
    ],
)
def test_a_bundle_that_is_not_what_it_was_is_refused(module: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        bundle.classic(module)


@pytest.mark.parametrize("kind", ["attack", "defense"])
def test_declarations_are_those_of_the_classes(kind: str) -> None:
    """Read without importing, they are what Python itself says; only an enum's value is out of reach."""
    for name in entries(kind):
        cls, found = load(kind, name), declaration(kind, name)
        assert found.paper == cls.paper
        real = {item.name: plain(item.default) for item in fields(cls) if item.default is not MISSING}
        assert {**real, **found.defaults} == {**found.defaults, **real}
        assert set(real) - set(found.defaults) <= {"mode"}, name
        assert found.defaults.get("presets", {}) == plain(dict(cls.presets)), name
        assert found.summary == entries(kind)[name].summary
        assert [item.name for item in found.fields] == [item.name for item in fields(cls)], name
        for item, shown in zip(fields(cls), found.fields, strict=True):
            assert shown.meaning, f"{name}.{item.name}: the docstring does not say what it is"
            assert _read(shown.default) == pytest.approx(plain(item.default), nan_ok=True), shown
    assert declaration(kind, "no-such-method").defaults == {}


def _read(default: str) -> Any:
    """A default as --set reads it, or the value of a quotient."""
    over, slash, under = default.partition(" / ")
    return float(over) / float(under) if slash else parse_yaml(default)


def test_the_paper_s_drops_are_found_by_experiment() -> None:
    found = printed_drops()
    plain_ones = {
        (one.protocol, one.model, one.attack, one.defense): drop
        for one, drop in found.items()
        if (one.attack_settings, one.defense_settings, one.surrogate) == ("{}", "{}", None)
    }
    assert plain_ones["mnist-v1", "lr", "min-max", "none"] == Printed(-2.55, "Table 2")
    papers = {
        (one.model, one.defense): drop
        for one, drop in found.items()
        if (one.protocol, one.attack, one.surrogate) == ("mnist-v1", "tgda", None)
        and json.loads(one.attack_settings) == dict(TGDA.presets["paper"])
    }
    assert papers["lr", "none"] == Printed(2.79, "Table 2")  # Tables 4 to 11 print it again
    assert papers["nn", "loss"] == Printed(1.49, "Table 10")
    first = next(drop for one, drop in found.items() if '"first":"defender"' in one.attack_settings)
    assert first == Printed(2.56, "Table 4")
    pooled = {"balanced": False, "fraction": 0.03, "per_class": False, "rounds": 1}  # what a record has of the preset
    (sever,) = (one for one in found if (one.model, one.defense) == ("lr", "sever"))
    assert (sever.defense_settings, found[sever]) == (canonical_json(pooled), Printed(2.13, "Table 11"))
    assert "sever" not in {defense for *_, defense in plain_ones}
    assert Printed(0.12, "Table 9") in [drop for one, drop in found.items() if one.surrogate == "lr"]


@pytest.mark.parametrize(("rank", "last", "place"), [(2, 2, "2 of 10"), (1, 3, "1–3 of 10 (tied)"), (None, None, "")])
def test_a_place_says_who_shares_it(rank: int | None, last: int | None, place: str, seeds: Any) -> None:
    (board,) = boards(seeds("tgda", [1.0]))
    assert Standing(board, "tgda", rank, last, 10, None, None).place == place


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_a_scale_holds_zero_and_every_mean(means: list[float]) -> None:
    scale = Scale.over([summary([mean]) for mean in means])
    assert scale.low < 0 < scale.high or min(means) >= 0
    for value in [0.0, *means]:
        assert 0 <= scale.at(value) <= 100
        assert scale.low - 1e-9 <= value <= scale.high + 1e-9
    assert scale.at(1e9) == 100


def test_numbers_as_shown() -> None:
    assert [numbers.points(value) for value in (None, -0.001, -1.005, 3.0)] == ["–", "0.00", "−1.00", "3.00"]
    assert numbers.mean(summary([1.0, 2.0, 3.0])) == "2.00 ± 2.48"
    assert numbers.mean(summary([1.0])) == "1.00"
    assert numbers.mean(summary([1.0, 1.0])) == "1.00"
    times = {0.0: "0.00 s", 0.0007: "0.7 ms", 0.1: "0.10 s", 42.0: "42 s", 720.0: "12 min", 7200.0: "2.0 h"}
    assert [numbers.seconds(value) for value in times] == list(times.values())
    assert [numbers.size(value) for value in (5, 2048, 3 * 2**20)] == ["5 B", "2.0 KiB", "3.0 MiB"]
    lists = ["none", "a", "a and b", "a, b and c", "a, b and 2 others"]
    assert [some(tuple("abcde"[:count])) for count in (0, 1, 2, 3, 4)] == lists
    assert some(("a", "none")) == "a and “none”"
    assert [numbers.mebibytes(value) for value in (None, 1234.5)] == ["–", "1,234 MiB"]
    assert ticked("`a` <b> `") == "<code>a</code> &lt;b&gt; `"
    assert shortened({"a": [0.031372549, 1e-9, 3, True, None, "0.123456789"]}) == {
        "a": [0.031373, 1e-9, 3, True, None, "0.123456789"]
    }


@given(st.text())
@settings(deadline=None, max_examples=100)
def test_no_text_is_markup_a_script_or_a_formula(text: str) -> None:
    written, plain_one = table(text, ((text, text),)), table("x", (("x", "x"),))
    assert [written.count(letter) for letter in "<>"] == [plain_one.count(letter) for letter in "<>"]
    assert re.fullmatch(r"[\w.?=\[\](){}\" +/]+;\n", script("name", {"text": text}), re.ASCII)


def test_numbers_in_a_csv_stay_numbers() -> None:
    values = (-1.5, None, True, "-1.5e3", "-1.5-1", "a=b")
    assert csv_text(["x"] * 6, [values]).splitlines()[1] == "-1.5,,true,-1.5e3,'-1.5-1,a=b"


def colours(scheme: int) -> dict[str, tuple[float, ...]]:
    css = (ASSETS / "site.css").read_text("utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\(#(\w{6}), #(\w{6})\);", css)
    return {name: tuple(int(pair[scheme][i : i + 2], 16) / 255 for i in (0, 2, 4)) for name, *pair in pairs}


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """WCAG 2.2: of relative luminances."""

    def luminance(colour: tuple[float, ...]) -> float:
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(scheme: int) -> None:
    found = colours(scheme)
    assert len(found) >= 14
    grounds = {"ink": ["ground", "raised", "fall", "rise"], "quiet": ["ground", "raised"], "link": ["ground", "raised"]}
    grounds |= {name: [f"{name}-ground"] for name in ("good", "warn", "bad")}
    for text, behind in grounds.items():
        for ground in behind:
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    for line in ("mark", "quiet", "link", "good"):  # of drawings
        assert contrast(found[line], found["ground"]) >= 3, line


NO_FILES = (
    "out", "up/secret", "up/", "circle", "nowhere", "linked/", "bare/", "bare", "fifo", "%00", "a%00b", "%ff%fe",
    "~root", "a" * 5000, "%0d%0aX:1", "index.html/",
)  # fmt: skip


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Where a folder with an index and a neighbour is served."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<title>here</title>")
    (tmp_path / "secret").write_text("no")
    for name, target in {
        "out": "../secret",
        "up": "..",
        "circle": "circle",
        "nowhere": "x",
        "here": "index.html",
    }.items():
        (tmp_path / "site" / name).symlink_to(target)
    (tmp_path / "site" / "linked").mkdir()
    (tmp_path / "site" / "linked" / "index.html").symlink_to("../../secret")
    (tmp_path / "site" / "bare").mkdir()
    os.mkfifo(tmp_path / "site" / "fifo")
    with server(tmp_path / "site") as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        host, port = running.server_address[:2]
        yield host, port
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("host", "path", "status"),
    [
        ("127.0.0.1:{port}", "/", 200),
        ("localhost:{port}", "/index.html", 200),
        ("evil.example:{port}", "/", 421),
        ("evil.example", "/", 421),
        ("", "/", 421),
        ("127.0.0.1.evil.example:{port}", "/", 421),
        ("127.0.0.1", "/../secret", 404),
        ("127.0.0.1", "/%2e%2e/secret", 404),
        ("127.0.0.1", "/here", 200),
        *(("127.0.0.1", f"/{path}", 404) for path in NO_FILES),
    ],
)
def test_the_server_answers_this_machine_alone(
    address: tuple[str, int], capsys: pytest.CaptureFixture[str], host: str, path: str, status: int
) -> None:
    assert address[0] == "127.0.0.1"
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host.format(port=address[1]))
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == status
    assert (b"<title>here" in body) == (status == 200)
    assert capsys.readouterr() == ("", "")


def test_a_port_that_is_taken_is_one_line(address: tuple[str, int], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"--port {address[1]}: .*free one"):
        server(tmp_path, address[1])


def test_boards_come_in_the_order_that_readers_look_for(planted: Any) -> None:
    """The larger dataset, the later version, the larger model; perturbed rows after added ones, earlier code last."""
    base = planted().document()

    def made(name: str, rows: int, model: str, parameters: int, **more: Any) -> Any:
        protocol = {**base["protocol"], "name": name, "version": int(name[-1]), "locked": False}
        dataset = {**base["dataset"], "name": name.split("-")[0], "n_train": rows}
        return planted(
            protocol=protocol, dataset=dataset, model={**base["model"], "name": model, "n_params": parameters}, **more
        )

    perturbs = {**base["threat"], "mode": "perturbation"}
    wanted = [
        made("mnist-v2", 10_000, "nn", 9000),
        made("mnist-v2", 10_000, "lr", 100),
        made("mnist-v1", 10_000, "nn", 9000),
        made("digits-v3", 900, "nn", 9000),
        made("digits-unlearnable-v3", 900, "nn", 9000, threat=perturbs),
        made("mnist-v2", 10_000, "cnn", 10**6, engine={**base["engine"], "version": 0}),
    ]
    found = in_order(boards(reversed(wanted)))
    assert [next(iter(board.records)).record_id for board in found] == [record.record_id for record in wanted]


def test_a_scale_says_what_runs_out_of_it() -> None:
    scale = Scale.over([summary([1.0, 2.0, 3.0])])
    assert scale.beyond(summary([1.0, 2.0, 3.0])) == (False, True)
    assert scale.beyond(summary([0.0, 2.0, 4.0])) == (True, True)
    assert scale.beyond(summary([1.99, 2.0, 2.01])) == scale.beyond(summary([2.0])) == (False, False)
    assert len(scale.ticks) >= 2
    assert 0 in scale.ticks
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks)


def test_a_board_offers_its_siblings(planted: Any) -> None:
    """Those that differ in the model, in ε, or in the protocol's version alone; earlier code only as a protocol."""
    base = planted().document()
    places = [("digits-v2", "nn", 0.03), ("digits-v2", "lr", 0.03), ("digits-v2", "lr", 0.1), ("digits-v1", "lr", 0.03)]
    records = [
        planted(
            protocol={**base["protocol"], "name": name, "version": int(name[-1]), "locked": False},
            model={**base["model"], "name": model},
            threat={**base["threat"], "epsilon": epsilon},
        )
        for name, model, epsilon in places
    ]
    found = in_order(boards(records))
    offered = {
        (one.conditions.protocol, one.conditions.model, one.conditions.epsilon): {
            switch.name: [text for text, _ in switch.choices] for switch in switches(one, found)
        }
        for one in found
    }
    assert {name: sorted(texts) for name, texts in offered["digits-v2", "lr", 0.03].items()} == {
        "Model": ["lr", "nn"], "ε": ["0.03", "0.1"], "Protocol": ["digits-v1", "digits-v2"]
    }  # fmt: skip
    assert set(offered["digits-v2", "nn", 0.03]) == {"Model"}
    assert set(offered["digits-v1", "lr", 0.03]) == {"Protocol"}


def test_pairs_of_a_ranking_are_those_of_compare(seeds: Any) -> None:
    """The same numbers as `poisonbench compare` gives of the same family; who leads is ahead of whom the ranks say."""
    drops = {"tgda": [30.0, 30.5, 31.0], "emn": [29.0, 30.5, 31.5], "min-max": [5.0, 5.5, 6.5]}
    (board,) = boards([record for name, values in drops.items() for record in seeds(name, values)])
    (family,) = families(board, lambda kind, label: f"{kind}s/{label}.html")
    standings = [one.experiment for one in board.attacks]
    compared = {(one.a, one.b): one for one in compare(standings, "drop")}
    contributions = {one.attack_label: one.contributions("drop") for one in standings}
    found = pairs(contributions, board.seeds, "largest")
    assert [(one.first, one.second) for one in found] == list(compared)
    for one, shown in zip(found, family["pairs"], strict=True):
        other = compared[one.first, one.second]
        assert (one.p, one.adjusted, one.family) == (other.p, other.adjusted, 3)
        assert one.difference.mean == pytest.approx(other.difference.mean)
        assert one.difference.interval == pytest.approx(other.difference.interval)
        assert one.by_seed == pytest.approx([a - b for a, b in zip(drops[one.first], drops[one.second], strict=True)])
        assert shown["sentence"] == one.sentence
    told = {one.second: "is ahead of" in one.sentence for one in found if one.first == found[0].first}
    assert told == {
        **dict.fromkeys(board.attack_ranking.ahead, True),
        **dict.fromkeys(board.attack_ranking.tied, False),
    }
    assert set(told.values()) == {True, False}
    assert [dict(one["facts"])["rank"] for one in family["entries"]] == ["1–2 of 3 (tied)"] * 2 + ["3 of 3"]


def test_pairs_of_defenses_are_of_what_they_leave(seeds: Any) -> None:
    """The mean over the attacks, seed by seed; the one that leaves less comes first."""
    left = {"none": ([20.0, 21.0, 22.0], [10.0, 11.0, 12.0]), "loss": ([6.0, 5.0, 4.0], [2.0, 3.0, 3.0])}
    (board,) = boards(
        record
        for defense, both in left.items()
        for attack, drops in zip(("tgda", "min-max"), both, strict=True)
        for record in seeds(attack, drops, defense=defense)
    )
    (family,) = [one for one in families(board, lambda *_: "") if one["name"] == "defenses-without"]
    (pair,) = family["pairs"]
    assert (pair["first"], pair["second"]) == ("loss", "none")
    assert pair["by_seed"] == ["−11.00", "−12.00", "−13.50"]
    assert pair["sentence"].startswith("loss is ahead of none: 12.17 points, 95 % interval ")
    assert {one["label"]: one["by_seed"] for one in family["entries"]}["none"] == ["15.00", "16.00", "17.00"]


def test_a_figure_draws_what_it_was_given() -> None:
    hostile = "<b>&"
    found = figure(
        [
            Line(hostile, [0, 5, 10], [1.0, math.nan, 3.0], [(0.0, 2.0), None, None], marked=True),
            Line("other", [0, 10], [2.0, 4.0]),
        ],
        hostile,
        hostile,
    )
    assert found.count("&lt;b&gt;&amp;") == 3
    assert "<b>" not in found
    # From −0.24 to 4.24, with the intervals; no line goes over the gap.
    row = {value: f"{1000 * (4.24 - value) / 4.48:.0f}" for value in (0.0, 1.0, 2.0, 3.0, 4.0)}
    paths = re.findall(r'<path class="([a-z ]+)" vector-effect="non-scaling-stroke" d="([^"]+)"/>', found)
    assert paths == [
        ("one", f"M0 {row[1.0]}M1000 {row[3.0]}"),
        ("one spans", f"M0 {row[0.0]}V{row[2.0]}"),
        ("one dots", f"M0 {row[1.0]}h0M1000 {row[3.0]}h0"),
        ("two", f"M0 {row[2.0]}L1000 {row[4.0]}"),
    ]
    assert figure([], "", "") == figure([Line("", [1.0], [math.nan])], "", "") == ""
    assert "NaN" not in figure([Line("", [1.0], [0.0])], "", "")


def test_papers_and_repositories_are_links_that_lead_there() -> None:
    entry = "@article{x,\n  title = {A {Great} & Small One},\n  year = {2022}\n}"
    assert paper(entry) == ("Find the paper", "https://scholar.google.com/scholar?q=A+Great+%26+Small+One")
    assert paper(entry.replace("year", "doi = {10.1/2},\n  year")) == ("Paper", "https://doi.org/10.1/2")
    preprint = entry.replace("year", "journal = {arXiv preprint arXiv:1906.07773},\n  year")
    assert paper(preprint) == ("Paper", "https://arxiv.org/abs/1906.07773")
    assert repository("jinja2").startswith("https://")
    assert repository("no-such-distribution") == ""


def test_a_method_s_summary_says_ties_as_ties(seeds: Any) -> None:
    drops = {"tgda": [30.0, 30.5, 31.0], "emn": [29.0, 30.5, 31.5], "min-max": [0.5, 0.0, -0.5]}
    found = boards([record for name, values in drops.items() for record in seeds(name, values)])
    said = {one.name: one.summary for one in method_views("attack", sorted(drops), [view(found[0], {})], {})}
    assert said == {
        "emn": "Ranked on 1 board; first, not told from others, on 1.",
        "min-max": "Ranked on 1 board; not told from no effect on 1.",
        "tgda": "Ranked on 1 board; first, not told from others, on 1.",
    }

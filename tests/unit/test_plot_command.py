"""`poisonbench plot …`, in this process: which records are drawn, which files are written, what is refused and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from poisonbench.cli import draw
from poisonbench.cli.main import app
from poisonbench.cli.plot_request import Request
from poisonbench.errors import ConfigError, PoisonbenchError, UnknownNameError
from poisonbench.leaderboard.plots import (
    certified_figure,
    figures,
    heatmap_figure,
    lines_figure,
    pareto_figure,
    standings_figure,
    training_figure,
)
from poisonbench.store.database import Store
from poisonbench.store.record import Record
from poisonbench.store.record_results import Certified, Metrics

Seeds = Callable[..., list[Record]]
NN = {"name": "nn", "version": 1, "n_params": 1}
PROVEN = Metrics.of(90.0, 85.0, acc1_defended=80.0, certified=Certified(rows=(0, 3), accuracy=(80.0, 0.0)))
TRACE = {"attack_stats": {"trace": {"outer": {"step": [1, 2], "loss": [1.0, 2.0], "odd": [1, 2]}}}}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, seeds: Seeds) -> str:
    """A store with two models' records at two values of ε, with traces of one attack."""
    records = [
        one
        for epsilon in (0.03, 0.1)
        for model in ({"name": "lr", "version": 1, "n_params": 1}, NN)
        for one in (
            *seeds("tgda", [3.0, 4.0, 5.0], epsilon=epsilon, model=model, **TRACE),
            *seeds("emn", [1.0, 2.0], epsilon=epsilon, model=model),
            *seeds("emn", [0.5], defense="sever", epsilon=epsilon, model=model),
            *seeds("emn", [0.5], defense="dpa", epsilon=epsilon, model=model, metrics=PROVEN),
        )
    ]
    place = str(tmp_path_factory.mktemp("store"))
    with Store.open(place) as store:
        store.add_all(records)
    return place


@pytest.fixture
def empty(tmp_path: Path) -> str:
    (tmp_path / "empty").mkdir()
    return str(tmp_path / "empty")


def request(store: str, *outputs: Path, published: bool = False, **filters: Sequence[Any]) -> Request:
    return Request(outputs or (Path("nowhere.svg"),), filters, store, published)


ONE = {"model": ["lr"], "epsilon": [0.03]}
"""One board."""


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("epsilon", [], ["tgda"]),
        ("epsilon", ["--value", "acc2", "--defense", "none,sever"], ["accuracy after attack"]),
        ("pareto", ["--model", "lr", "--epsilon", "0.03"], ["emn", "tgda"]),
        ("heatmap", ["--model", "lr", "--epsilon", "3e-2"], ["sever"]),
        ("standings", ["--model", "nn", "--epsilon", "0.1"], ["emn", "of 3 seeds"]),
        ("certified", ["--model", "lr", "--epsilon", "0.03"], ["dpa proves 80.00 percent"]),
        ("training", ["--model", "lr", "--epsilon", "0.03"], ["attack's own loss"]),
        ("training", ["--model", "lr", "--epsilon", "0.03", "--measure", "odd"], ["odd"]),
    ],
    ids=str,
)
def test_svg_and_png_in_one_go(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, more: list[str], words: list[str]
) -> None:
    svg, png = (tmp_path / f"new/{kind}.{suffix}" for suffix in ("svg", "png"))
    monkeypatch.setattr(figures, "DPI", 50)
    files = ["-o", str(svg), "-o", str(png)] if more else ["-o", f"{svg}, {png}"]
    command = ["plot", kind, "--store", filled, *more, *files]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.stdout.split() == [str(svg), str(png)]
    assert svg.read_bytes().startswith(b"<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert all(word in svg.read_text("utf-8") for word in words)


def test_filters_choose(filled: str) -> None:
    def drops(**filters: Sequence[Any]) -> list[float]:
        return sorted(record.metrics.drop for record in request(filled, **filters).records()[0] if record.metrics)

    assert drops(attack=["emn"], defense=["dpa"], **ONE) == [5.0]
    assert drops(attack=["emn"], defense=["none"], model=["lr"]) == [1.0, 1.0, 2.0, 2.0]
    assert drops(attack=["emn", "tgda"], defense=["none"], **ONE) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert drops(dataset=["digits"], protocol=["digits-v1"], defense=["sever"]) == [0.5] * 4
    assert drops(dataset=["mnist"]) == []


def test_published_records_are_there_if_asked_for(empty: str, ship: Callable[..., None]) -> None:
    ship("digits-v1", "tgda", "lr")
    few = {"model": ["lr"], "dataset": ["digits"], "attack": ["tgda"], "defense": ["none", "loss"]}
    assert request(empty, **few).records() == ([], {})
    records, _ = request(empty, published=True, **few).records()
    assert {(record.attack.name, record.defense.name) for record in records} == {("tgda", "none"), ("tgda", "loss")}
    assert len({record.record_id for record in records}) == len(records) >= 6


@pytest.mark.parametrize(
    ("outputs", "filters", "error", "message"),
    [
        (["a.gif"], {}, ConfigError, r"a\.gif: expected a name that ends in \.png, \.pdf, \.svg\.$"),
        (["a.svg", "b"], {}, ConfigError, r"--output b: expected"),
        ([], {"attack": ["tgdaa"]}, UnknownNameError, r"^Unknown attack 'tgdaa'\. Did you mean 'tgda'\?$"),
        ([], {"attack": ["tgda", "emnn"]}, UnknownNameError, r"^Unknown attack 'emnn'\. Did you mean 'emn'\?$"),
        ([], {"defense": ["sever+lose"]}, UnknownNameError, r"^Unknown defense 'sever\+lose'"),
        ([], {"protocol": ["digits-v9"]}, UnknownNameError, r"^Unknown protocol 'digits-v9'\. Did you mean"),
        ([], {"epsilon": [0.5]}, UnknownNameError, r"^Unknown epsilon '0\.5'\."),
        ([], {"seed": [9]}, UnknownNameError, r"^Unknown seed '9'\."),
        ([], {"surrogate": ["n"]}, UnknownNameError, r"^Unknown surrogate 'n'\. Did you mean 'nn'\?$"),
    ],
    ids=str,
)
def test_a_slip_is_refused(
    filled: str, outputs: list[str], filters: dict[str, list[str]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        request(filled, *map(Path, outputs), **filters).records()


def test_no_file_is_refused(filled: str) -> None:
    with pytest.raises(ConfigError, match="expected a file"):
        Request((), {}, filled).records()


DRAWS: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
    (draw.fraction, ()), (draw.epsilon, ("drop",)), (draw.train_size, ("drop",)), (draw.pareto_front, ()),
    (draw.heatmap, ()), (draw.standings, ()), (draw.training, ((),)), (draw.certified, ()),
]  # fmt: skip


@pytest.mark.parametrize(("draw", "arguments"), DRAWS, ids=lambda part: getattr(part, "__name__", ""))
def test_nothing_to_draw_says_how_to_make_some(
    empty: str, draw: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(ConfigError, match=r"Make some: poisonbench (run|sweep) --attack [^.]") as caught:
        draw(request(empty), *arguments)
    assert "\n" not in str(caught.value)


def test_records_without_a_trace_are_no_curves(filled: str) -> None:
    with pytest.raises(ConfigError, match="those made by this version or later do"):
        draw.training(request(filled, attack=["emn"], **ONE), ())
    with pytest.raises(UnknownNameError, match=r"^Unknown measure 'losss'\. Did you mean 'loss'\?$"):
        draw.training(request(filled, **ONE), ("losss",))


def test_records_without_a_certificate_are_no_curve(filled: str) -> None:
    with pytest.raises(ConfigError, match=r"those of defenses that prove something do\. Make some: .* --defense dpa"):
        draw.certified(request(filled, defense=["sever"], **ONE))


@pytest.mark.parametrize(("draw", "arguments"), DRAWS[3:], ids=lambda part: getattr(part, "__name__", ""))
def test_several_boards_are_named(filled: str, draw: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^2 boards: digits-v1 · lr · ε = 0\.03; .* Choose one with --protocol, --m"):
        draw(request(filled, epsilon=[0.03]), *arguments)


def test_a_pareto_front_is_of_one_defense_that_has_records(filled: str) -> None:
    with pytest.raises(ConfigError, match="is of one defense, got 2"):
        draw.pareto_front(request(filled, defense=["none", "sever"], **ONE))


@pytest.mark.parametrize(
    ("module", "name", "draw", "arguments", "filters", "flag"),
    [
        (lines_figure, "MOST_LINES", draw.epsilon, ("drop",), {}, "--attack"),
        (lines_figure, "MOST_PANELS", draw.epsilon, ("drop",), {}, "--model"),
        (pareto_figure, "MOST", draw.pareto_front, (), ONE, "--attack"),
        (heatmap_figure, "MOST_ATTACKS", draw.heatmap, (), ONE, "--attack"),
        (heatmap_figure, "MOST_DEFENSES", draw.heatmap, (), ONE, "--defense"),
        (standings_figure, "MOST", draw.standings, (), ONE, "--attack"),
        (certified_figure, "MOST", draw.certified, (), ONE, "--defense"),
        (training_figure, "MOST", draw.training, ((),), ONE, "--attack"),
        (training_figure, "MOST_MEASURES", draw.training, ((),), ONE, "--measure"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_too_much_is_refused_with_the_filter_to_use(
    filled: str,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    draw: Callable[..., None],
    arguments: tuple[Any, ...],
    filters: dict[str, list[str]],
    flag: str,
) -> None:
    monkeypatch.setattr(module, name, 0)
    with pytest.raises(PoisonbenchError, match=rf"too many for a figure; at most 0\. Use .*{flag}"):
        draw(request(filled, **filters), *arguments)

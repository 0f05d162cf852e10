"""The command line: thin commands over the engine. `--help` and `list` import neither torch nor pandas.

Exit codes: 0 ok, 1 some cells failed, 2 usage, 3 data missing, 4 validation failed, 5 timeout, 130 interrupt.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from poisonbench import __version__
from poisonbench.errors import PoisonbenchError
from poisonbench.process.openmp import yield_when_crowded

if TYPE_CHECKING:
    from poisonbench.cli.plot_request import Request

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_EPILOG = (
    "Exit codes: 0 ok, 1 some cells failed, 2 usage, 3 data missing, 4 validation failed, 5 timeout, 130 interrupt."
)

app = typer.Typer(
    help="Indiscriminate data poisoning under one fixed protocol: attacks against defenses, acc1 − acc2 and runtime.",
    no_args_is_help=True,
    context_settings=_CONTEXT,
    pretty_exceptions_enable=False,
    epilog=_EPILOG,
)
results_app = typer.Typer(help="Look at the records of a store, and move them as plain JSON.", no_args_is_help=True)
data_app = typer.Typer(help="Bring datasets to this machine and check them.", no_args_is_help=True)
plot_app = typer.Typer(help="Draw what a store's records say.", no_args_is_help=True)
new_app = typer.Typer(help="Start a plugin: an installable project that runs as written.", no_args_is_help=True)
app.add_typer(results_app, name="results")
app.add_typer(new_app, name="new")
app.add_typer(plot_app, name="plot")
app.add_typer(data_app, name="data")
leaderboard_app = typer.Typer(help="The leaderboard as web pages that open from a folder.", no_args_is_help=True)
app.add_typer(leaderboard_app, name="leaderboard")

StoreOption = Annotated[
    str | None, typer.Option("--store", help="Folder, .db file or SQLAlchemy URL. Default: the user's data folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder with the dataset's own files, looked in after the cache.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads of a process. Default: the physical cores.")
]
TimeoutOption = Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds a cell may take.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failed cell.")]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file whose methods are known for this run; may be given several times."),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Open no connection; fail at once if data is missing.")]


@app.command()
def run(
    attack: Annotated[str, typer.Option("--attack", "-a", help="Attack, or several by comma.")],
    defense: Annotated[
        str, typer.Option("--defense", "-d", help="Defense, or several by comma; loss+maxup is one after the other.")
    ] = "none",
    dataset: Annotated[str | None, typer.Option(help="Dataset; takes its newest protocol. Default: digits.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Protocol by name, or a YAML file.")] = None,
    model: Annotated[str | None, typer.Option(help="Target model(s). Default: the protocol's first.")] = None,
    surrogate: Annotated[str | None, typer.Option(help="Model to craft on, if not the target.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Named settings of the attack, such as paper; below --set.")
    ] = None,
    epsilon: Annotated[str | None, typer.Option(help="Poison fraction(s) n_poison / n_train, such as 0.03.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds by comma. Default: the protocol's.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML with settings, below --set in precedence.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, such as attack.alpha=0.02 or recipe.lr=0.05.")
    ] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    force: Annotated[bool, typer.Option("--force", help="Make a new record even if the store has this cell.")] = False,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run an attack against a defense and record acc1 − acc2 and the runtime.

    Everything already in the store is taken from there; an interrupted run goes on where it stopped.
    """
    _plug(plugin)
    from poisonbench.cli import run as command
    from poisonbench.cli.workplace import Workplace

    request = command.Request(
        attacks=_commas(attack),
        defenses=_commas(defense),
        dataset=dataset,
        protocol=protocol,
        models=_commas(model),
        surrogate=surrogate,
        preset=preset,
        epsilons=_commas(epsilon),
        seeds=_commas(seeds),
        config=config,
        settings=tuple(setting or ()),
        force=force,
        as_json=as_json,
        debug=debug,
    )
    raise typer.Exit(command.run(request, Workplace(store, data_dir, offline, device, threads, timeout)))


def _axis(*names: str, help: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*names, help=help, rich_help_panel="Axes")
    return option


FileArgument = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="YAML grid: a list for every axis.")]
ProtocolAxis = Annotated[
    str | None, _axis("--protocol", help="Protocols by comma. Every axis given here takes the place of FILE's.")
]
DatasetAxis = Annotated[str | None, _axis("--dataset", help="Datasets; each takes its newest protocol.")]
ModelAxis = Annotated[str | None, _axis("--model", help="Target models.")]
AttackAxis = Annotated[str | None, _axis("--attack", "-a", help="Attacks.")]
SurrogateAxis = Annotated[str | None, _axis("--surrogate", help="Models to craft on; null is the target.")]
PresetAxis = Annotated[str | None, _axis("--preset", help="Named settings of the attack; null is none.")]
DefenseAxis = Annotated[str | None, _axis("--defense", "-d", help="Defenses; a+b is one after the other.")]
EpsilonAxis = Annotated[str | None, _axis("--epsilon", help="Poison fractions.")]
SeedsAxis = Annotated[str | None, _axis("--seeds", help="Seeds.")]
SetAxis = Annotated[list[str] | None, _axis("--set", help="key=value; a YAML list such as [10, 20] is an axis.")]
RetryOption = Annotated[str | None, typer.Option("--retry", help="Run these again: failed, timeout, oom, by comma.")]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes (with Ray). The cores are shared out.")
]
RayOption = Annotated[
    str | None, typer.Option("--ray", help="Address of a Ray cluster to work on, such as auto or HOST:6379.")
]
GpusOption = Annotated[
    float | None,
    typer.Option("--gpus", min=0.01, help="GPUs of a worker, such as 0.5. Default: 1 where there are any."),
]
OverwriteOption = Annotated[
    str,
    typer.Option("--overwrite", help="only-missing; never: compute nothing; always: a new record of every cell."),
]


@app.command()
def sweep(
    file: FileArgument = None,
    protocol: ProtocolAxis = None,
    dataset: DatasetAxis = None,
    model: ModelAxis = None,
    attack: AttackAxis = None,
    surrogate: SurrogateAxis = None,
    preset: PresetAxis = None,
    defense: DefenseAxis = None,
    epsilon: EpsilonAxis = None,
    seeds: SeedsAxis = None,
    setting: SetAxis = None,
    overwrite: OverwriteOption = "only-missing",
    retry: RetryOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop, as `plan` does.")] = False,
    jobs: JobsOption = None,
    ray: RayOption = None,
    gpus: GpusOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a grid of cells: lists over any axis, from a file or from flags.

    Nothing that is done is done again: cells with a record are skipped, and cells share training runs and poison sets.
    After Ctrl-C or a kill the same command goes on from there.
    """
    _plug(plugin)
    from poisonbench.cli import sweep as command
    from poisonbench.cli.workplace import Workplace

    axes = {
        "protocol": _commas(protocol),
        "dataset": _commas(dataset),
        "model": _commas(model),
        "attack": _commas(attack),
        "surrogate": _commas(surrogate),
        "preset": _commas(preset),
        "defense": _commas(defense),
        "epsilon": _commas(epsilon),
        "seeds": _commas(seeds),
    }
    request = command.Request(file, axes, tuple(setting or ()), overwrite, _commas(retry), dry_run, as_json, debug)
    raise typer.Exit(
        command.run(request, Workplace(store, data_dir, offline, device, threads, timeout, jobs, ray, gpus))
    )


@app.command()
def plan(
    file: FileArgument = None,
    protocol: ProtocolAxis = None,
    dataset: DatasetAxis = None,
    model: ModelAxis = None,
    attack: AttackAxis = None,
    surrogate: SurrogateAxis = None,
    preset: PresetAxis = None,
    defense: DefenseAxis = None,
    epsilon: EpsilonAxis = None,
    seeds: SeedsAxis = None,
    setting: SetAxis = None,
    overwrite: OverwriteOption = "only-missing",
    retry: RetryOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a sweep would do: its cells, what the store has of them, and about how long the rest takes."""
    sweep(
        file, protocol, dataset, model, attack, surrogate, preset, defense, epsilon, seeds, setting, overwrite, retry,
        dry_run=True, device=device, threads=threads, store=store, data_dir=data_dir, offline=offline, plugin=plugin,
        as_json=as_json,
    )  # fmt: skip


@app.command()
def reproduce(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="table2 to table13, figure1, 3, 4, 5, or all.")],
    profile: Annotated[
        str, typer.Option(help="smoke: digits, minutes. cpu: what two cores can do. paper: in full.")
    ] = "smoke",
    format_: Annotated[str, typer.Option("--format", help="terminal, md, latex or csv.")] = "terminal",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for Markdown, LaTeX, CSV, and figures as SVG and PNG.")
    ] = None,
    overwrite: OverwriteOption = "only-missing",
    retry: RetryOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    jobs: JobsOption = None,
    ray: RayOption = None,
    gpus: GpusOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Regenerate tables and figures of the paper, with its printed numbers beside ours.

    Cells that the store has are taken from there; the others are run first.
    """
    _plug(plugin)
    from poisonbench.cli import reproduce as command
    from poisonbench.cli.workplace import Workplace

    request = command.Request(
        tuple(names), profile, format_, output, overwrite, _commas(retry), dry_run, as_json, debug
    )
    raise typer.Exit(
        command.run(request, Workplace(store, data_dir, offline, device, threads, timeout, jobs, ray, gpus))
    )


@app.command("list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="attacks, defenses, models, datasets or protocols; everything if left out.")
    ] = None,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what can be run, plugins included."""
    _plug(plugin)
    from poisonbench.cli import listing

    listing.show(kind, as_json)


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="An attack, defense, model, dataset or protocol.")],
    plugin: PluginOption = None,
) -> None:
    """Show what a method computes, its fields with their defaults, and its paper's BibTeX entry."""
    _plug(plugin)
    from poisonbench.cli import describe as command

    command.show(name)


@app.command()
def check(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="Attacks and defenses.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, fields of the method, such as steps=10.")
    ] = None,
    game: Annotated[
        list[str] | None,
        typer.Option(help="key=value of the tiny game: model, shape, classes, n_train, n_validation, epsilon, radius."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that a check may take.")] = 60.0,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check attacks and defenses on tiny games: budget, box, labels, determinism, resuming, cost, no test data.

    What fails is shown with the reason and the fix; the exit code is then 4. The same checks are pytest classes:
    poisonbench.testing.AttackContract and DefenseContract.
    """
    _plug(plugin)
    from poisonbench.cli import check as command

    raise typer.Exit(
        command.run(command.Request(tuple(names), tuple(setting or ()), tuple(game or ()), timeout, as_json))
    )


NewName = Annotated[str, typer.Argument(help="What it is to be run under: lower case, digits and single hyphens.")]
NewFolder = Annotated[
    Path | None, typer.Option("--output", "-o", help="Folder to write to. Default: one of that name, here.")
]


@new_app.command("attack")
def new_attack(name: NewName, output: NewFolder = None) -> None:
    """Write a small project with a new attack: entry point, working example, contract test, README."""
    from poisonbench.cli import new as command

    command.write("attack", name, output)


@new_app.command("defense")
def new_defense(name: NewName, output: NewFolder = None) -> None:
    """Write a small project with a new defense: entry point, working example, contract test, README."""
    from poisonbench.cli import new as command

    command.write("defense", name, output)


@app.command()
def table(
    rows: Annotated[
        str | None,
        typer.Option(
            help="Axes down, by comma: attack, defense, model, dataset, protocol, epsilon, surrogate, seed. "
            "Default: attack."
        ),
    ] = None,
    cols: Annotated[str | None, typer.Option(help="Axes across, by comma; '' for none. Default: defense.")] = None,
    value: Annotated[
        str | None,
        typer.Option(
            help="By comma: acc1, acc2, drop, undefended, saved, clean-cost, precision, recall, removed, linf, "
            "attack-time, defense-time, defense-memory. Default: drop."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Axes and values at once, below the flags: table2, table9, table11 as in the paper, attacks, defenses."
        ),
    ] = None,
    spread: Annotated[str, typer.Option(help="Beside the mean: std, interval (95 %) or none.")] = "std",
    best: Annotated[
        str | None,
        typer.Option(help="Who competes for bold and underlined: attack, defense or none. Default: attack if an axis."),
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Only these protocols.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only these datasets.")] = None,
    model: Annotated[str | None, typer.Option(help="Only these models.")] = None,
    attack: Annotated[str | None, typer.Option(help="Only these attacks.")] = None,
    defense: Annotated[str | None, typer.Option(help="Only these defenses.")] = None,
    epsilon: Annotated[str | None, typer.Option(help="Only these poison fractions.")] = None,
    published: Annotated[bool, typer.Option("--published", help="Add the records that ship with poisonbench.")] = False,
    format_: Annotated[
        str | None, typer.Option("--format", help="terminal, md, latex, csv, html or json. Default: terminal.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Any axes down and across: mean ± std over seeds of the drop or other values, the best in bold.

    What is no axis makes tables of its own; numbers are averaged over seeds alone.
    """
    from poisonbench.cli import table as command

    filters = {
        "protocol": protocol, "dataset": dataset, "model": model, "attack": attack, "defense": defense,
        "epsilon": epsilon,
    }  # fmt: skip
    down, across, values = (None if text is None else _commas(text) for text in (rows, cols, value))
    chosen = {axis: _commas(names) for axis, names in filters.items()}
    command.show(
        store, command.Request(preset, down, across, values, spread, best, chosen, published, format_, as_json)
    )


@app.command()
def compare(
    experiments: Annotated[
        list[str],
        typer.Argument(
            metavar="EXPERIMENT",
            help="Each an attack, attack/defense or the start of a record's id; settings as a board prints them: "
            "'tgda (alpha=0.02)'.",
        ),
    ],
    protocol: Annotated[str | None, typer.Option(help="Under this protocol.")] = None,
    model: Annotated[str | None, typer.Option(help="On this target model.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="With this poison fraction.")] = None,
    value: Annotated[str, typer.Option(help="What to compare; as in table.")] = "drop",
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tell whether experiments differ: paired over seeds and over test images, with 95 % intervals.

    Of more than two, every pair is tested, and p is adjusted for their number by Holm's method.
    """
    from poisonbench.cli import compare as command

    filters = {"protocol": protocol, "model": model, "epsilon": epsilon}
    given = {key: wanted for key, wanted in filters.items() if wanted is not None}
    command.show(store, experiments, given, value, data_dir, offline, as_json)


def _which(name: str, help: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(name, help=help, rich_help_panel="Which records")
    return option


PlotOutput = Annotated[
    list[str],
    typer.Option("--output", "-o", help="File to write: .png, .pdf or .svg; several by comma or by several -o."),
]
PlotProtocol = Annotated[str | None, _which("--protocol", "Only these protocols.")]
PlotModel = Annotated[str | None, _which("--model", "Only these models.")]
PlotAttack = Annotated[str | None, _which("--attack", "Only these attacks.")]
PlotDefense = Annotated[str | None, _which("--defense", "Only these defenses.")]
PlotDataset = Annotated[str | None, _which("--dataset", "Only these datasets.")]
PlotEpsilon = Annotated[str | None, _which("--epsilon", "Only these poison fractions.")]
PlotPublished = Annotated[
    bool,
    typer.Option("--published", help="Also the records that ship with poisonbench.", rich_help_panel="Which records"),
]
PlotValue = Annotated[str, typer.Option(help="What to draw; as in table.")]


def _plotted(output: list[str], store: str | None, published: bool, filters: dict[str, str | None]) -> Request:
    from poisonbench.cli.plot_request import Request

    outputs = tuple(Path(name) for text in output for name in _commas(text))
    return Request(outputs, {axis: _commas(given) for axis, given in filters.items()}, store, published)


@plot_app.command("fraction")
def plot_fraction(
    output: PlotOutput,
    protocol: PlotProtocol = None,
    model: PlotModel = None,
    attack: PlotAttack = None,
    defense: PlotDefense = None,
    dataset: PlotDataset = None,
    epsilon: PlotEpsilon = None,
    published: PlotPublished = False,
    store: StoreOption = None,
) -> None:
    """Draw drop, clean cost and recall against the fraction of rows that filters removed.

    Make the records with several values of --set defense.fraction=….
    """
    from poisonbench.cli import plot

    filters = {
        "protocol": protocol,
        "model": model,
        "attack": attack,
        "defense": defense,
        "dataset": dataset,
        "epsilon": epsilon,
    }
    plot.fraction(_plotted(output, store, published, filters))


@plot_app.command("epsilon")
def plot_epsilon(
    output: PlotOutput,
    value: PlotValue = "drop",
    protocol: PlotProtocol = None,
    model: PlotModel = None,
    attack: PlotAttack = None,
    defense: PlotDefense = None,
    dataset: PlotDataset = None,
    epsilon: PlotEpsilon = None,
    published: PlotPublished = False,
    store: StoreOption = None,
) -> None:
    """Draw the drop, or another value, against ε: a line each attack, a panel each board, 95 % intervals over seeds.

    Of records against no defense, unless --defense names some. Make them with --epsilon 0.01,0.03,0.1.
    """
    from poisonbench.cli import plot

    filters = {
        "protocol": protocol,
        "model": model,
        "attack": attack,
        "defense": defense,
        "dataset": dataset,
        "epsilon": epsilon,
    }
    plot.epsilon(_plotted(output, store, published, filters), value)


@plot_app.command("train-size")
def plot_train_size(
    output: PlotOutput,
    value: PlotValue = "drop",
    protocol: PlotProtocol = None,
    model: PlotModel = None,
    attack: PlotAttack = None,
    defense: PlotDefense = None,
    dataset: PlotDataset = None,
    epsilon: PlotEpsilon = None,
    published: PlotPublished = False,
    store: StoreOption = None,
) -> None:
    """Draw the drop, or another value, against the size of the training set: a line each attack, 95 % intervals.

    Of records against no defense, unless --defense names some. Make them with sweep --set 'train_rows=[100, 300]'.
    """
    from poisonbench.cli import plot

    filters = {
        "protocol": protocol,
        "model": model,
        "attack": attack,
        "defense": defense,
        "dataset": dataset,
        "epsilon": epsilon,
    }
    plot.train_size(_plotted(output, store, published, filters), value)


@plot_app.command("pareto")
def plot_pareto(
    output: PlotOutput,
    protocol: PlotProtocol = None,
    model: PlotModel = None,
    attack: PlotAttack = None,
    defense: PlotDefense = None,
    dataset: PlotDataset = None,
    epsilon: PlotEpsilon = None,
    published: PlotPublished = False,
    store: StoreOption = None,
) -> None:
    """Draw a board's mean drop against the attacks' seconds: what no other attack beats in both is on the front."""
    from poisonbench.cli import plot

    filters = {
        "protocol": protocol,
        "model": model,
        "attack": attack,
        "defense": defense,
        "dataset": dataset,
        "epsilon": epsilon,
    }
    plot.pareto_front(_plotted(output, store, published, filters))


@plot_app.command("heatmap")
def plot_heatmap(
    output: PlotOutput,
    protocol: PlotProtocol = None,
    model: PlotModel = None,
    attack: PlotAttack = None,
    defense: PlotDefense = None,
    dataset: PlotDataset = None,
    epsilon: PlotEpsilon = None,
    published: PlotPublished = False,
    store: StoreOption = None,
) -> None:
    """Draw a board's mean drops, attacks by defenses, with the numbers in the cells."""
    from poisonbench.cli import plot

    filters = {
        "protocol": protocol,
        "model": model,
        "attack": attack,
        "defense": defense,
        "dataset": dataset,
        "epsilon": epsilon,
    }
    plot.heatmap(_plotted(output, store, published, filters))


@plot_app.command("standings")
def plot_standings(
    output: PlotOutput,
    protocol: PlotProtocol = None,
    model: PlotModel = None,
    attack: PlotAttack = None,
    defense: PlotDefense = None,
    dataset: PlotDataset = None,
    epsilon: PlotEpsilon = None,
    published: PlotPublished = False,
    store: StoreOption = None,
) -> None:
    """Draw a board's attacks by drop and its defenses by residual drop: means, 95 % intervals, every seed, ranks."""
    from poisonbench.cli import plot

    filters = {
        "protocol": protocol,
        "model": model,
        "attack": attack,
        "defense": defense,
        "dataset": dataset,
        "epsilon": epsilon,
    }
    plot.standings(_plotted(output, store, published, filters))


@plot_app.command("training")
def plot_training(
    output: PlotOutput,
    measure: Annotated[
        str | None, typer.Option(help="Only these measures, in this order, such as accuracy,residual.")
    ] = None,
    protocol: PlotProtocol = None,
    model: PlotModel = None,
    attack: PlotAttack = None,
    defense: PlotDefense = None,
    dataset: PlotDataset = None,
    epsilon: PlotEpsilon = None,
    published: PlotPublished = False,
    store: StoreOption = None,
) -> None:
    """Draw accuracy and losses while a board's attacks ran: a panel each measure, a line each attack."""
    from poisonbench.cli import plot

    filters = {
        "protocol": protocol,
        "model": model,
        "attack": attack,
        "defense": defense,
        "dataset": dataset,
        "epsilon": epsilon,
    }
    plot.training(_plotted(output, store, published, filters), _commas(measure))


@app.command()
def gallery(
    record_id: Annotated[str, typer.Argument(metavar="RECORD", help="A record, by its id or the start of it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .png, .pdf or .svg.")],
    count: Annotated[int, typer.Option(help="How many points, at most 100.")] = 10,
    order: Annotated[
        str,
        typer.Option(
            help="first: the attack's own order; linf: largest L∞ distance first; median: around the median distance."
        ),
    ] = "first",
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
) -> None:
    """Draw a record's poisoned points: clean source, poisoned image, amplified difference."""
    from poisonbench.cli import gallery as command

    command.show(store, record_id, output, count, order, data_dir, offline)


BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `submit` wrote.")]


@app.command()
def submit(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; a new one.")],
    records: Annotated[
        list[str] | None, typer.Argument(metavar="[RECORD…]", help="Record ids, or the starts of them.")
    ] = None,
    attack: Annotated[str | None, typer.Option(help="Instead of ids: every ranked result of this attack.")] = None,
    defense: Annotated[str | None, typer.Option(help="Only against this defense.")] = None,
    citation: Annotated[Path | None, typer.Option(help="BibTeX file of the paper.")] = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=5, help="Points that a second run on other hardware may differ by.")
    ] = 0.0,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
) -> None:
    """Bundle records with their poison sets and predictions for others to check."""
    from poisonbench.cli import submission
    from poisonbench.cli.workplace import Workplace

    workplace = Workplace(store, data_dir, offline, "cpu", None, None)
    filters = {key: name for key, name in {"attack": attack, "defense": defense}.items() if name is not None}
    raise typer.Exit(submission.submit(workplace, records or [], filters, output, citation, tolerance))


@app.command()
def validate(
    bundle: BundleArgument,
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle's schema, sizes, hashes, budgets, labels and accuracies; runs no code of it."""
    from poisonbench.cli import submission
    from poisonbench.cli.workplace import Workplace

    raise typer.Exit(submission.validate(Workplace(None, data_dir, offline, "cpu", None, None), bundle, as_json))


@app.command()
def verify(
    bundle: BundleArgument,
    by: Annotated[str | None, typer.Option("--as", help="Who verifies, for the verified records.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the verified records.")] = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    timeout: TimeoutOption = None,
    store: StoreOption = None,
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train again on a bundle's poison sets, under the locked protocol, and compare.

    Needs no attack: one whose code is closed can be verified. The records written by --output are for `results merge`.
    """
    from poisonbench.cli import submission
    from poisonbench.cli.workplace import Workplace

    workplace = Workplace(store, data_dir, offline, device, threads, timeout)
    raise typer.Exit(submission.verify(workplace, submission.Verification(bundle, by, output, as_json)))


@app.command()
def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check versions, device, threads, data and store."""
    from poisonbench.cli import doctor as command

    raise typer.Exit(command.show(store, as_json))


@results_app.command("show")
def results_show(
    record_id: Annotated[str | None, typer.Argument(help="One record, by its id or the start of it.")] = None,
    attack: Annotated[str | None, typer.Option(help="Only this attack.")] = None,
    defense: Annotated[str | None, typer.Option(help="Only this defense.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only this protocol.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    status: Annotated[str | None, typer.Option(help="ok, failed, timeout or oom.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many rows, the latest ones; 0 for all.")] = 100,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the records of a store, or one of them in full."""
    from poisonbench.cli import results

    filters = {"attack": attack, "defense": defense, "protocol": protocol, "model": model, "status": status}
    results.show(store, record_id, {key: value for key, value in filters.items() if value is not None}, limit, as_json)


@results_app.command("export")
def results_export(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to; one JSON file a record.")],
    records: Annotated[list[str] | None, typer.Argument(help="Record ids. Default: all.")] = None,
    artifacts: Annotated[
        bool, typer.Option("--artifacts/--no-artifacts", help="Also poison sets and predictions.")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Write records as plain JSON, one file each, ready for git."""
    from poisonbench.cli import results

    results.export(store, output, records or [], artifacts)


@results_app.command("merge")
def results_merge(
    paths: Annotated[list[Path], typer.Argument(help="Folders or files that `results export` or `verify` wrote.")],
    into: Annotated[
        Path | None, typer.Option(help="A folder of JSON files, such as leaderboard/results, instead of a store.")
    ] = None,
    store: StoreOption = None,
) -> None:
    """Read exported records into a store. A file that was changed is refused; the others go in."""
    from poisonbench.cli import results

    raise typer.Exit(results.merge(store, paths, into))


@data_app.command("prepare")
def data_prepare(
    names: Annotated[list[str], typer.Argument(help="Datasets.")],
    data_dir: DataDirOption = None,
    offline: OfflineOption = False,
) -> None:
    """Fetch datasets from the first source that has them, check them and keep them."""
    from poisonbench.cli import data

    data.prepare_all(names, data_dir, offline)


@data_app.command("verify")
def data_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Datasets. Default: every one that is cached.")] = None,
) -> None:
    """Check cached datasets against their SHA-256, fetching nothing."""
    from poisonbench.cli import data

    data.verify_all(names or [])


@leaderboard_app.command("build")
def leaderboard_build(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder; an earlier site in it is replaced.")] = Path(
        "site"
    ),
    published: Annotated[
        bool, typer.Option("--published/--no-published", help="With the records that ship with poisonbench.")
    ] = True,
    gallery: Annotated[
        bool, typer.Option("--gallery/--no-gallery", help="With pictures of the poison sets that are here.")
    ] = True,
    store: StoreOption = None,
) -> None:
    """Write the leaderboard as a folder of web pages: boards, attacks, defenses, records, data to download.

    It opens from the folder, needs no server and loads nothing from the network.
    """
    from poisonbench.cli import leaderboard

    leaderboard.build(store, output, published, gallery)


@leaderboard_app.command("serve")
def leaderboard_serve(
    folder: Annotated[
        Path | None, typer.Argument(help="A site that was built. Default: one that is built now.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
    store: StoreOption = None,
) -> None:
    """Show the leaderboard in the browser, served to this machine alone, until Ctrl-C."""
    from poisonbench.cli import leaderboard

    leaderboard.serve(store, folder, port, browser)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"poisonbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


def _plug(files: list[Path] | None) -> None:
    if files:
        from poisonbench.plugins.registry import plug

        plug(files)


def _commas(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def main() -> NoReturn:
    """The `poisonbench` command. One line an error; a traceback is a bug, or asked for with --debug."""
    yield_when_crowded()
    arguments = sys.argv[1:]
    if (
        arguments
        and arguments[0].startswith("-")
        and arguments[0] not in ("-h", "--help", "--version", "--install-completion", "--show-completion")
    ):
        arguments = ["run", *arguments]
    try:
        code = app(arguments, standalone_mode=False)
        if code == 130:  # Typer's way of handing over Ctrl-C
            raise KeyboardInterrupt
    except PoisonbenchError as error:
        if "--debug" in arguments:
            raise
        from poisonbench.terminal.consoles import printable

        typer.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("Interrupted. Run the same command again to go on from there.", err=True)
        sys.exit(130)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors
            typer.echo(f"Error: {error.format_message()}", err=True)
            sys.exit(2)
        raise
    sys.exit(code or 0)

"""Protocols: what they refuse and how they say it; precedence; deviations; released files never edited."""

import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from poisonbench.cli.main import app
from poisonbench.errors import ConfigError, UnknownNameError
from poisonbench.experiment import protocol
from poisonbench.experiment.cell import Cell, build
from poisonbench.experiment.protocol import resolve
from poisonbench.experiment.settings import Setting, parse_setting, read_settings
from poisonbench.problem.threat import Mode

# A released protocol is superseded by a new file with a higher version, never edited: records point at these hashes.
RELEASED = {
    "cifar10-unlearnable-v1": "b49e9d3d34aa9ca14a29098c9cbc52e816922711f8171204a44ba11d394a3979",
    "cifar10-v1": "e1d5f29041d3467f4d0e6fee7219660d17f0de0c6764b1191d0b27f2325480fd",
    "cifar10-unlearnable-v2": "d7c4ac8162d82f9a1b5807a8f7a40ebb143fccfc758ef84d5de6603700faea05",
    "cifar10-v2": "48780b68ce554331315e41223f01135e6feb6e4e5494eafe09522fd49a687d06",
    "digits-17-v1": "4ea741d9504ca099249b77f2330e2fee6a37418f4a40512cc8036134b3b5e6aa",
    "digits-17-v2": "69bb5aba847d1cd11d0e1afa49d4ecca2da752bcbef7bb83abb8bf26ebc9a8dd",
    "digits-unlearnable-v1": "bacc6d840f5c58a82631cbf74baed8c29b9ffa0e0bd783ae4fc5a3253516132f",
    "digits-unlearnable-v2": "5096fca41d09c0346359f96ed35d765ed3036e7bb2474323e6085ebe18770de3",
    "digits-v1": "fa9c5d27854abcd2c88316ad8267c0c1f08f7b96ff396f925fa3c5f5026aedae",
    "digits-v2": "440bf54cfbb6203d9ced630d1d2a446f3e27225edc0bf9a19236ecc2f608f0b3",
    "mnist-17-v1": "2b8417f6d8afc331d12204f94fd657126694622c06a1c428a915772f1304e8ca",
    "mnist-17-v2": "9c1242f666fe11019955cbc84aad86505082fde5a6aa8eff3badc6f4ff1cd1d0",
    "mnist-5k-v2": "d04de5919d29c32898e26404cc1ec26e2193686f17d40a48f1159ce0cf531148",
    "mnist-v1": "95e781f6e08bcd7d57a8332e6301d62bdd8506bfc35d976606c39702cfaeb75a",
    "mnist-v2": "27e273522464695efb09ded49b50f2ceecc2f295f7a546ff1e90357b018e3ecf",
}


def test_released_protocols_are_what_they_were() -> None:
    assert {name: resolve(name, ()).hash for name in protocol.names()} == RELEASED


@pytest.mark.parametrize("name", protocol.names())
def test_a_released_protocol_is_complete_and_has_no_deviations(name: str) -> None:
    found = resolve(name, ())
    assert found.released
    assert found.deviations == ()
    assert found.protocol.name == name
    assert name.endswith(f"-v{found.protocol.version}")
    attack = "label-flip" if found.protocol.threat.mode is Mode.ADDITION else "emn"
    assert build(found, attack, "none", epsilon=found.protocol.threat.epsilon, seed=0).deviations == ()


def document() -> dict[str, object]:
    text = files("poisonbench.protocols").joinpath("digits-v1.yaml").read_text("utf-8")
    found: dict[str, object] = yaml.safe_load(text)
    return {**found, "name": "mine"}


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def changed(tmp_path: Path, key: str, value: object) -> Path:
    content = document()
    section, _, rest = key.rpartition(".")
    part = content[section] if section else content
    assert isinstance(part, dict)
    part[rest] = value
    return file(tmp_path, yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("threat.epsilon", 3, "expected a number in (0, 1], got 3. Did you mean 0.03?"),
        ("threat.epsilon", 0, "expected a number in (0, 1], got 0."),
        ("threat.epsilon", -0.1, "expected a number in (0, 1], got -0.1."),
        ("threat.epsilon", 300, "expected a number in (0, 1], got 300."),
        ("threat.epsilon", "abc", "got 'abc'."),
        ("threat.radius", 8, "got 8."),
        ("threat.mode", "adition", "got 'adition'."),
        ("recipe.lr", 0, "got 0."),
        ("recipe.lr", float("inf"), "got inf."),
        ("recipe.momentum", 1.0, "got 1.0."),
        ("recipe.batch_size", 2.5, "integer, got 2.5."),
        ("recipe.epochs", 0, "got 0."),
        ("recipe.optimizer", "adamw", "got 'adamw'."),
        ("models", [], "got []."),
        ("models", ["lr", "lr"], "'lr' is given twice, got ['lr', 'lr']."),
        ("models", [""], "got ''."),
        ("seeds", [0, 0], "0 is given twice, got [0, 0]."),
        ("seeds", ["0"], "got '0'."),
        ("seeds", [True], "got True."),
        ("name", "", "got ''."),
        ("name", "digits-v1", "digits-v1 ships with poisonbench; give rules of your own another name."),
        ("name", "mnist", "mnist ships with poisonbench; give rules of your own another name."),
        ("summary", "", "got ''."),
        ("dataset", "", "got ''."),
        ("padded", "yes", "got 'yes'."),
        ("padded", 1, "got 1."),
        ("recipe.lr", "0.1", "got '0.1'."),
        ("recipe.epochs", True, "got True."),
        (
            "recipes",
            {"nn": {"lr": None}},
            "expected a value; leave the key out where the model has the protocol's, got",
        ),
        ("recipes", {"nn": {}}, "expected keys and values, got none."),
        ("seeds", [], "got []."),
        ("seeds", [-1], "got -1."),
        ("validation", 1.0, "got 1.0."),
        ("version", 0, "got 0."),
    ],
)
def test_a_bad_value_names_file_key_and_value(tmp_path: Path, key: str, value: object, message: str) -> None:
    path = changed(tmp_path, key, value)
    with pytest.raises(ConfigError) as error:
        resolve(str(path), ())
    assert str(error.value).startswith(f"{path}: {key}")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("recipe.momentun", "recipe.momentum"), ("threat.epsilom", "threat.epsilon"), ("seed", "seeds")],
)
def test_an_unknown_key_gets_the_nearest(tmp_path: Path, key: str, suggestion: str) -> None:
    path = changed(tmp_path, key, 1)
    with pytest.raises(ConfigError) as error:
        resolve(str(path), ())
    assert str(error.value) == f"{path}: Unknown key {key!r}. Did you mean {suggestion!r}?"


def test_the_origin_of_a_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^--set: Unknown key 'recipe\.lrr'\. Did you mean 'recipe\.lr'\?"):
        resolve("digits-v1", (parse_setting("recipe.lrr=0.1"),))
    with pytest.raises(ConfigError, match=r"^--epsilon: threat\.epsilon: expected .* Did you mean 0\.03\?$"):
        resolve("digits-v1", (Setting("threat.epsilon", 3, "--epsilon"),))
    with pytest.raises(ConfigError, match=r"^--set: recipe\.epochs: .*got 'ten'\.$"):
        resolve("digits-v1", (parse_setting("recipe.epochs=ten"),))


def test_a_missing_key(tmp_path: Path) -> None:
    content = document()
    del content["seeds"]
    with pytest.raises(ConfigError, match=r"mine\.yaml: seeds: missing\."):
        resolve(str(file(tmp_path, yaml.safe_dump(content))), ())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a: [1, 2", "not YAML"),
        ("\tname: x", "not YAML"),
        ("!!python/object/apply:os.system ['touch exploded']", "not YAML"),
        ("- 1\n- 2\n", "expected keys and values, got list"),
        ("just text", "expected keys and values, got str"),
        ("", "expected keys and values, got NoneType"),
        ("x: 1\n" + "#" * (1 << 20), "larger than 1 MiB"),
        ("a: " + "[" * 1000, "not YAML"),
    ],
    ids=["unclosed", "tab", "python object", "list", "text", "empty", "large", "deep"],
)
def test_what_is_no_configuration(tmp_path: Path, text: str, match: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = file(tmp_path, text)
    for read in (lambda: resolve(str(path), ()), lambda: read_settings(path)):
        with pytest.raises(ConfigError, match=match) as error:
            read()
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "exploded").exists()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not YAML"):
        resolve(str(path), ())
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_settings(tmp_path / "absent.yaml")


@pytest.mark.parametrize("key", ["seeds", "summary", "threat.epsilon", "attack.alpha"])
def test_a_yaml_bomb_does_not_go_off(tmp_path: Path, key: str) -> None:
    """A billion laughs: 9 levels of 10 references are 1e9 items if a message or a hash ever writes them out. In a
    process of its own, with little memory, so that a failure is a failure and not the machine's end."""
    levels = [f"&a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 10)]
    section, _, rest = key.rpartition(".")
    lines = [
        "models: [&a0 [lol], " + ", ".join(levels) + "]",
        f"{section}: {{{rest}: *a9}}" if section else f"{key}: *a9",
    ]
    lines.append(yaml.safe_dump({k: v for k, v in document().items() if k not in ("models", section, key)}))
    path = file(tmp_path, "\n".join(lines))
    code = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from pathlib import Path\nfrom poisonbench.errors import ConfigError\n"
        "from poisonbench.experiment import protocol\nfrom poisonbench.experiment.settings import read_settings\n"
        "for read in (lambda: protocol.resolve(sys.argv[1], ()), lambda: read_settings(Path(sys.argv[1]))):\n"
        "    try:\n        read()\n    except ConfigError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, path], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.count("YAML aliases (*name) are not read here") == 2


def test_the_protocol_is_below_the_config_file_and_that_below_set(tmp_path: Path) -> None:
    config = file(tmp_path, "recipe: {lr: 0.2, epochs: 7}\nattack: {alpha: 1e-3, m: 2}\n")
    given = (*read_settings(config), parse_setting("recipe.lr=0.3"), parse_setting("attack.m=4"))
    found = resolve("digits-v1", given)
    assert (found.protocol.recipe.lr, found.protocol.recipe.epochs) == (0.3, 7)
    assert found.protocol.recipe.batch_size == resolve("digits-v1", ()).protocol.recipe.batch_size
    assert found.methods["attack"] == {"alpha": 1e-3, "m": 4}
    assert found.hash == resolve("digits-v1", ()).hash


def test_deviations_are_listed_and_axes_are_none() -> None:
    found = resolve("digits-v1", tuple(map(parse_setting, ["recipe.lr=0.3", "threat.radius=0.1", "recipe.epochs=100"])))
    assert found.deviations == ("recipe.lr: 0.1 → 0.3", "threat.radius: None → 0.1")
    axes = resolve("digits-v1", tuple(map(parse_setting, ["threat.epsilon=0.1", "seeds=[5]", "attack.alpha=1"])))
    assert axes.deviations == ()
    renamed = resolve("digits-v1", (parse_setting("name=mnist-v1"),))
    assert renamed.deviations == ("name: 'digits-v1' → 'mnist-v1'",)


def test_a_model_or_a_mode_outside_the_protocol_is_a_deviation() -> None:
    settings = resolve("digits-v1", ())
    cell = build(settings, "label-flip", "none", epsilon=0.03, seed=0, model="resnet18")
    assert cell.deviations == ("model: resnet18 is not one of lr, svm, nn, cnn",)


def test_an_attack_with_both_modes_plays_the_protocols_unless_it_is_told() -> None:
    modes = {"digits-v1": Mode.ADDITION, "digits-unlearnable-v1": Mode.PERTURBATION}
    for name, mode in modes.items():
        attack = build(resolve(name, ()), "emn", "none", epsilon=0.5, seed=0).attack
        assert attack.threat.mode is mode
    for name, other in zip(modes, reversed(modes.values()), strict=True):
        told = resolve(name, (parse_setting(f"attack.mode={other.value}"),))
        cell = build(told, "emn", "none", epsilon=0.5, seed=0)
        assert cell.attack.threat.mode is other
        assert cell.deviations == (f"threat.mode: {modes[name].value!r} → {other.value!r}",)


def test_an_attack_with_one_mode_deviates_where_the_protocol_has_the_other() -> None:
    cell = build(resolve("digits-unlearnable-v1", ()), "label-flip", "none", epsilon=1.0, seed=0)
    assert cell.deviations == ("threat.mode: 'perturbation' → 'addition'",)


def test_a_users_own_file_is_never_released(tmp_path: Path) -> None:
    same = resolve(str(file(tmp_path, yaml.safe_dump(document()))), ())
    assert not same.released
    (tmp_path / "other.yaml").write_text(
        "# mine\n" + yaml.safe_dump(dict(reversed(document().items())), sort_keys=False)
    )
    assert same.hash == resolve(str(tmp_path / "other.yaml"), ()).hash  # key order and comments do not matter
    assert resolve(str(changed(tmp_path, "recipe.lr", 0.2)), ()).hash != same.hash


@pytest.mark.parametrize("text", ["alpha", "=3", ""])
def test_settings_of_another_form(text: str) -> None:
    with pytest.raises(ConfigError, match="expected key=value"):
        parse_setting(text)


def test_settings_are_read_as_yaml() -> None:
    values = {text: parse_setting(f"k={text}").value for text in ("1", "1e-3", "true", "abc", "[1, 2]", "null")}
    assert values == {"1": 1, "1e-3": 1e-3, "true": True, "abc": "abc", "[1, 2]": [1, 2], "null": None}
    assert parse_setting("a=b=c").value == "b=c"
    with pytest.raises(ConfigError, match="the value is not YAML"):
        parse_setting("k=[1")


def test_unknown_protocols_and_datasets() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown protocol 'digit-v1'\. Did you mean 'digits-v1'\?"):
        resolve("digit-v1", ())
    with pytest.raises(UnknownNameError, match=r"Unknown dataset 'cifar'\. Did you mean 'cifar10'\?.*--protocol FILE"):
        protocol.for_dataset("cifar")
    with pytest.raises(UnknownNameError, match=r"Unknown protocol 'digits-v9'"):
        resolve("digits-v9", ())


def test_a_dataset_of_ones_own_is_told_how_to_get_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "entries", lambda kind: {"my-data": None} if kind == "dataset" else {})
    with pytest.raises(UnknownNameError, match=r"No protocol is about dataset 'my-data'\..* --protocol digits, or"):
        protocol.for_dataset("my-data")


def test_a_family_or_a_dataset_is_its_newest_protocol() -> None:
    assert protocol.for_dataset("digits") == "digits-v2"
    assert protocol.for_dataset("cifar10") == "cifar10-v2"
    assert protocol.choose() == "digits-v2"
    assert protocol.choose("digits-unlearnable") == "digits-unlearnable-v2"
    assert protocol.choose("mnist-17", "digits") == protocol.choose(dataset="mnist-17") == "mnist-17-v2"
    assert protocol.choose("digits-v1") == "digits-v1"
    assert resolve("digits", ()) == resolve("digits-v2", ())
    assert protocol.choose("my/own.yaml") == "my/own.yaml"


def test_versions_are_compared_as_numbers_and_other_families_do_not_count(new_protocol: Callable[..., None]) -> None:
    for version in (9, 10):
        new_protocol("digits", version)
    new_protocol("digits-hard", 11)
    new_protocol("digits-unlearnable", 12, base="digits-unlearnable-v1")
    assert protocol.for_dataset("digits") == protocol.choose("digits") == "digits-v10"
    family = [name for name in protocol.names() if name.startswith("digits-v")]
    assert family == ["digits-v1", "digits-v2", "digits-v9", "digits-v10"]
    assert protocol.choose("digits-hard") == "digits-hard-v11"
    assert protocol.choose("digits-v1") == "digits-v1"


def with_recipes(tmp_path: Path, **recipes: dict[str, object]) -> Path:
    content = document()
    content["recipes"] = recipes
    return file(tmp_path, yaml.safe_dump(content))


OWN = {"nn": {"epochs": 30, "optimizer": "adam"}, "cnn": {"lr": 0.02}}


def made(path: Path, *settings: str, model: str = "lr", surrogate: str | None = None) -> Cell:
    resolved = resolve(str(path), tuple(map(parse_setting, settings)))
    return build(resolved, "label-flip", "none", epsilon=0.03, seed=0, model=model, surrogate=surrogate)


def test_a_model_may_have_a_recipe_of_its_own(tmp_path: Path) -> None:
    path = with_recipes(tmp_path, **OWN)
    rules = protocol.load(str(path))
    common = rules.recipe.model_dump()
    assert rules.recipe_of("lr") == rules.recipe_of("svm") == rules.recipe_of("resnet18") == common
    assert rules.recipe_of("nn") == {**common, "epochs": 30, "optimizer": "adam"}
    assert rules.recipe_of("cnn") == {**common, "lr": 0.02}
    assert made(path, model="nn").recipe.epochs == 30
    crafted = made(path, model="lr", surrogate="nn")
    assert (crafted.recipe.epochs, crafted.recipe_of(crafted.surrogate).epochs) == (common["epochs"], 30)
    for model in ("lr", "nn", "cnn"):
        assert made(path, model=model).deviations == ()


def test_a_setting_of_the_recipe_is_for_every_model(tmp_path: Path) -> None:
    """--set recipe.epochs=7: nn's own epochs give way, its optimizer stays."""
    path = with_recipes(tmp_path, **OWN)
    usual = protocol.load("digits-v1").recipe.epochs
    for model, optimizer in (("lr", "sgd"), ("nn", "adam"), ("cnn", "sgd")):
        cell = made(path, "recipe.epochs=7", model=model)
        assert (cell.recipe.epochs, cell.recipe.optimizer) == (7, optimizer)
    everyones = f"recipe.epochs: {usual} → 7"
    nns = "recipes.nn.epochs: 30 → 7"
    assert made(path, "recipe.epochs=7").deviations == (everyones,)
    assert made(path, "recipe.epochs=7", model="nn").deviations == (everyones, nns)
    assert made(path, "recipe.epochs=7", model="cnn").deviations == (everyones,)
    assert made(path, "recipe.epochs=7", surrogate="nn").deviations == (everyones, nns), "a surrogate is trained too"


def test_a_setting_of_one_model_is_a_deviation_of_its_cells_alone(tmp_path: Path) -> None:
    path = with_recipes(tmp_path, **OWN)
    for model in ("lr", "cnn"):
        cell = made(path, "recipes.nn.epochs=5", model=model)
        assert cell.deviations == ()
        assert cell.recipe == made(path, model=model).recipe
    cell = made(path, "recipes.nn.epochs=5", model="nn")
    assert (cell.recipe.epochs, cell.deviations) == (5, ("recipes.nn.epochs: 30 → 5",))
    new = made(path, "recipes.lr.epochs=5")
    assert (new.recipe.epochs, new.deviations) == (5, ("recipes.lr.epochs: None → 5",))


def test_a_models_own_recipe_wins_however_the_two_are_typed(tmp_path: Path) -> None:
    path = with_recipes(tmp_path, **OWN)
    assert made(path, "recipe.epochs=7", "recipes.nn.epochs=9", model="nn").recipe.epochs == 9
    assert made(path, "recipe.epochs=7", "recipes.nn.epochs=9").recipe.epochs == 7
    assert made(path, "recipes.nn.epochs=9", "recipe.epochs=7", model="nn").recipe.epochs == 9
    same = made(path, "recipe.epochs=7", "recipes.nn.epochs=30", model="nn")
    assert all(not one.startswith("recipes.") for one in same.deviations)


def test_the_value_that_a_model_has_already_is_no_deviation_of_its_own(tmp_path: Path) -> None:
    cell = made(with_recipes(tmp_path, **OWN), "recipe.epochs=30", model="nn")
    usual = protocol.load("digits-v1").recipe.epochs
    assert cell.recipe.epochs == 30
    assert cell.deviations == (f"recipe.epochs: {usual} → 30",)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("recipes.nn.epohcs=3", "Unknown key 'recipes.nn.epohcs'. Did you mean 'recipes.nn.epochs'?"),
        ("recipes.rn.epochs=3", "Unknown key 'recipes.rn.epochs'. Did you mean 'recipes.nn.epochs'?"),
        ("recipes.nn.epochs=0", "recipes.nn.epochs: Input should be greater than or equal to 1, got 0."),
        ("recipes.nn.optimizer=adm", "recipes.nn.optimizer: Input should be 'sgd' or 'adam', got 'adm'."),
        ("recipes.nn=3", "Unknown key 'recipes.nn'"),
        ("recipe.epochs=0", "recipe.epochs: Input should be greater than or equal to 1, got 0."),
    ],
)
def test_what_a_recipe_of_its_own_refuses(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        made(with_recipes(tmp_path, **OWN), setting, model="nn")
    assert str(error.value).startswith(f"--set: {message}")
    assert "\n" not in str(error.value)


def test_a_cell_is_told_apart_by_its_own_recipe_alone(tmp_path: Path) -> None:
    path = with_recipes(tmp_path, **OWN)
    for model, moves in (("lr", False), ("nn", True)):
        assert (made(path, "recipes.nn.lr=0.3", model=model).hash() != made(path, model=model).hash()) is moves
    assert made(path, "recipe.lr=0.3").hash() != made(path).hash()
    assert made(path, "recipes.nn.lr=0.3", surrogate="nn").hash() != made(path, surrogate="nn").hash()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("trusted", 0, "trusted: Input should be greater than 0, got 0."),
        ("trusted", 1, "trusted: Input should be less than 1, got 1."),
        ("padded", "some", "padded: Input should be a valid boolean"),
    ],
)
def test_rules_about_trusted_rows_and_padding_are_checked(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(str(changed(tmp_path, key, value)), ())
    assert message in str(error.value)
    told = resolve("digits-v1", (parse_setting("trusted=0.01"), parse_setting("padded=true")))
    assert told.deviations == ("padded: None → True", "trusted: None → 0.01")
    assert (told.protocol.trusted, told.protocol.padded) == (0.01, True)


@pytest.mark.parametrize("name", protocol.names())
def test_what_describe_prints_is_a_protocol(tmp_path: Path, name: str) -> None:
    """With another name it is a file of one's own, under the same rules."""
    text = CliRunner().invoke(app, ["describe", name]).stdout
    mine = resolve(str(file(tmp_path, text.replace(f"name: {name}", "name: mine"))), ()).protocol
    assert mine == protocol.load(name).model_copy(update={"name": "mine"})

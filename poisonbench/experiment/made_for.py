"""The models that methods declare to be made for: a cell of another one is refused before any work."""

from __future__ import annotations

from poisonbench.attacks.base import Attack
from poisonbench.defenses.base import Defense
from poisonbench.defenses.composed import Composed
from poisonbench.errors import ConfigError, PluginError
from poisonbench.models.base import Model
from poisonbench.plugins.registry import entries, load, name_of

ANY = "any"

_ELSE = "in a sweep's file `exclude` leaves combinations out"


def refuse_other_targets(defense: Defense, model: type[Model]) -> None:
    """Raises ConfigError if the defense, or a part of it, is made for other models than the one that it trains."""
    for part in defense.parts if isinstance(defense, Composed) else (defense,):
        if not _is_among(part.name, part.target_models, model):
            names = _either(part.target_models)
            raise ConfigError(
                f"{part.name} is made for {names}, not for {name_of(model)}. Use --model {names}; {_ELSE}."
            )


def refuse_other_surrogates(attack: Attack, model: type[Model]) -> None:
    """Raises ConfigError if the attack is made for other models than the one that it is crafted on."""
    author = name_of(type(attack))
    if not _is_among(author, attack.models, model):
        names = _either(attack.models)
        raise ConfigError(
            f"{author} is made for {names}, not for {name_of(model)}. Use --model {names}, or "
            f"--surrogate {names} with another target; {_ELSE}."
        )


def named_models(declared: str) -> list[str]:
    """The models that a method's declaration names, of those there are: what a plugin names may not be installed, and
    "svm, two classes" says more."""
    known = entries("model")
    return [name for name in declared.split(", ") if name in known]


def _is_among(author: str, declared: object, model: type[Model]) -> bool:
    """Whether a model is one of those that are named, or is like one of them: linear as it is, with the same loss."""
    if not isinstance(declared, str):
        raise PluginError(f"{author} names the models that it is made for as one text, such as 'lr, svm', or {ANY!r}.")
    return declared == ANY or any(_is_like(model, load("model", name)) for name in named_models(declared))


def _is_like(model: type[Model], named: type[Model]) -> bool:
    same = issubclass(model, named) or (model.linear and named.linear)
    return model is named or (same and model.losses is named.losses)


def _either(declared: str) -> str:
    return " or ".join(named_models(declared)) or declared

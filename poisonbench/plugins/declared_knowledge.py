"""What an attack assumes and whether a defense uses trusted rows, read from the source: `list` imports no method.

Where the class decides by its fields, both are possible, and both are said.
"""

from __future__ import annotations

import ast

from poisonbench.plugins.lineage import lineage
from poisonbench.plugins.registry import Entry
from poisonbench.problem.threat import Knowledge


def declared_knowledge(entry: Entry) -> tuple[Knowledge, ...]:
    """What an attack declares to know: one, or both if its fields decide; none if that cannot be read."""
    found = _definition(entry, "threat")
    if found is None:
        return ()
    named = {node.attr for node in ast.walk(found) if isinstance(node, ast.Attribute)} & set(Knowledge.__members__)
    return tuple(one for one in Knowledge if one.name in (named or {Knowledge.TRAINING_ONLY.name}))  # the default


def declared_labels(entry: Entry) -> tuple[bool, ...]:
    """Whether an attack declares to keep its sources' labels: one answer, or both if its fields decide; none if that
    cannot be read."""
    found = _definition(entry, "threat")
    if found is None:
        return ()
    made = [node for node in ast.walk(found) if isinstance(node, ast.Call)]
    given = [word.value for call in made for word in call.keywords if word.arg == "clean_label"]
    answers = {node.value if isinstance(node, ast.Constant) else None for node in given} or {False}  # the default
    return tuple(one for one in (True, False) if one in answers or not answers <= {True, False})


def declared_text(entry: Entry, name: str) -> str:
    """The text that a class declares under a name; empty if that cannot be read."""
    found = _definition(entry, name)
    return found.value if isinstance(found, ast.Constant) and isinstance(found.value, str) else ""


def declared_trust(entry: Entry) -> tuple[bool, ...]:
    """Whether a defense declares to use trusted rows, see `declared_flag`."""
    return declared_flag(entry, "trusted_data")


def declared_flag(entry: Entry, name: str) -> tuple[bool, ...]:
    """What a class declares under a name, an attribute or a property that is true or false: one answer, or both if its
    fields decide; none if it has no such, or that cannot be read."""
    found = _definition(entry, name)
    if found is None:
        return ()
    if isinstance(found, ast.FunctionDef):
        returned = [node.value for node in ast.walk(found) if isinstance(node, ast.Return)]
    else:
        returned = [found]
    answers = {node.value if isinstance(node, ast.Constant) else None for node in returned}
    return tuple(one for one in (True, False) if one in answers or not answers <= {True, False})


def declared_proof(entry: Entry) -> bool:
    """Whether a defense has a certificate: a `certify` that returns something."""
    found = _definition(entry, "certify")
    returned = [node.value for node in ast.walk(found) if isinstance(node, ast.Return)] if found else []
    return any(value is not None and not _is_none(value) for value in returned)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _definition(entry: Entry, name: str) -> ast.FunctionDef | ast.expr | None:
    """The value or property that a class has under a name, its own or the nearest inherited."""
    for body in [] if entry.broken else lineage(entry.target):
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name == name and not _abstract(node):
                return node
            if isinstance(node, ast.Assign | ast.AnnAssign) and name in _targets(node):
                return node.value
    return None


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _abstract(node: ast.FunctionDef) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "abstractmethod" for one in node.decorator_list)

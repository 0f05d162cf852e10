"""`poisonbench verify`: a bundle's results, trained again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from poisonbench.cli.options import Data, JsonOption, Machine, QuietOption, StoreOption, group_options
from poisonbench.cli.validate import BundleArgument
from poisonbench.counted import counted
from poisonbench.errors import ConfigError, ValidationError
from poisonbench.terminal.consoles import console, note, write_json
from poisonbench.terminal.fitted import Column, Fitted
from poisonbench.visible import one_line

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from poisonbench.store.record import Record
    from poisonbench.submission.agreement import Agreement
    from poisonbench.submission.reexecution import Reexecution


@group_options
def verify(
    bundle: BundleArgument,
    machine: Machine,
    data: Data,
    key: Annotated[
        Path | None, typer.Option(help="Private key to sign with: Ed25519, PEM. Its passphrase is asked for.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the verified records.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train again on a bundle's poison sets, under the locked protocol, and compare.

    Needs no attack: one whose code is closed can be verified. The records written by --output hold what was measured
    here, signed, beside what was submitted; they are for `results merge`. An interrupted verification goes on where it
    stopped. A defense that is a plugin runs in a process of its own.
    """
    from poisonbench.cli.output_folder import make_sure_of
    from poisonbench.cli.workplace import Workplace
    from poisonbench.store.database import Store
    from poisonbench.store.exchange import write_records
    from poisonbench.store.location import locate, verification
    from poisonbench.submission.agreement import agreements
    from poisonbench.submission.bundle import read
    from poisonbench.submission.evidence import Validator
    from poisonbench.submission.verifier import Verifier
    from poisonbench.terminal import Bars

    if (output is None) != (key is None):
        raise ConfigError("--output needs --key FILE, to sign with, and --key needs --output.")
    signing = None if key is None else _read_key(key)
    opened = read(bundle)
    verdicts: list[tuple[Record, Reexecution | str]] = []
    validator, device = Validator(opened, data.opener()), Workplace(store, data, machine).device()
    if output is not None:
        make_sure_of(output)
    load = cache(lambda name: validator.open(name).load())
    with Bars(quiet) as bars, Store.open(str(verification(locate(store)))) as trainings:
        verifier = Verifier(validator, load, trainings, data.options(), device, bars, machine.timeout)
        for record in opened.records:
            bars.label = record.record_id[:8]
            verdicts.append((record, verifier.verdict(record)))
    again = [verdict for _, verdict in verdicts if not isinstance(verdict, str)]
    agreed = agreements((one.submitted, one.found) for one in again)
    _show(verdicts, agreed, as_json)
    verified = [one for one in again if _stands(one, agreed)]
    if output is not None and signing is not None:
        paths = write_records(output, [one.found.signed(signing, one.said) for one in verified])
        note(f"Wrote {counted(len(paths), 'verified record')} to {output}, signed by {_signer(signing)}.")
    raise typer.Exit(0 if len(verified) == len(verdicts) else ValidationError.exit_code)


def _read_key(path: Path) -> Ed25519PrivateKey:
    from poisonbench.store.signatures import read_key

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--key {path}: {error.strerror or error}.") from error
    found = read_key(data, f"--key {path}")
    while found is None:
        passphrase = typer.prompt(one_line(f"Passphrase of {path}"), hide_input=True, err=True)
        found = read_key(data, f"--key {path}", passphrase.encode("utf-8"))
    return found


def _signer(key: Ed25519PrivateKey) -> str:
    from poisonbench.store.signatures import public_key
    from poisonbench.store.trusted_keys import trusted_names

    public = public_key(key)
    name = trusted_names().get(public)
    return name or f"key {public}, which is not in trusted_keys.yaml: they have no badge here"


def _stands(one: Reexecution, agreed: Mapping[str, Agreement]) -> bool:
    """Whether it is to be signed: each of its accuracies agrees, and all seeds of its attack and defense do."""
    whole = agreed.get(one.submitted.record_id)
    return one.verified and whole is not None and not whole.told_apart


def _show(verdicts: Sequence[tuple[Record, Reexecution | str]], agreed: Mapping[str, Agreement], as_json: bool) -> None:
    if as_json:
        write_json([_document(*pair, agreed) for pair in verdicts])
        return
    columns = [*map(Column, ("record", "attack", "defense", "seed"))]
    columns += [Column(heading, "right") for heading in ("acc2 %", "again", "±", "drop", "again")]
    rows = []
    for record, verdict in verdicts:
        labels = (record.record_id[:8], record.attack.name, record.defense.name, str(record.seeds.run))
        rows.append(list(map(Text, (*labels, *_numbers(verdict), one_line(_text(verdict, agreed))))))
    console.print(Fitted([*columns, Column("verdict", prose=True)], rows))


def _numbers(verdict: Reexecution | str) -> Iterator[str]:
    """acc2 as it was submitted, as it was found and by how much they may differ; then the drop."""
    if isinstance(verdict, str) or verdict.submitted.metrics is None or verdict.found.metrics is None:
        yield from "–––––"
        return
    said, found = verdict.submitted.metrics, verdict.found.metrics
    tolerance = next(one.tolerance for one in verdict.differences if one.name == "acc2")
    yield from (f"{said.acc2:.2f}", f"{found.acc2:.2f}", f"{tolerance:.2f}", f"{said.drop:.2f}", f"{found.drop:.2f}")


def _text(verdict: Reexecution | str, agreed: Mapping[str, Agreement]) -> str:
    if isinstance(verdict, str):
        return f"✗ {verdict}"
    wrong = [one for one in verdict.differences if not one.within]
    if wrong:
        return "✗ " + "; ".join(
            f"{one.name} is {one.found:.2f}, not {_percent(one.submitted)} ± {one.tolerance:.2f}" for one in wrong
        )
    whole = agreed.get(verdict.submitted.record_id)
    if whole is None:
        return "✗ it does not say which test images were right"
    if whole.told_apart:
        return (
            f"✗ over {counted(whole.seeds, 'seed')} the drop of {whole.label} is {whole.found:.2f}, not "
            f"{whole.submitted:.2f}: a board tells the two apart (p = {whole.p:.2g})"
        )
    exact = all(one.submitted == one.found for one in verdict.differences)
    return "✓ verified, to the bit" if exact else "✓ verified"


def _percent(accuracy: float | None) -> str:
    return "given" if accuracy is None else f"{accuracy:.2f}"


def _document(record: Record, verdict: Reexecution | str, agreed: Mapping[str, Agreement]) -> dict[str, Any]:
    if isinstance(verdict, str):
        known: dict[str, Any] = {"verified": False, "problem": verdict, "drop": None, "over_seeds": None}
        return {"record": record.record_id, **known, "differences": []}
    whole, said, found = agreed.get(record.record_id), verdict.submitted.metrics, verdict.found.metrics
    return {
        "record": record.record_id,
        "verified": _stands(verdict, agreed),
        "problem": None,
        "drop": {"submitted": said.drop, "found": found.drop} if said and found else None,
        "over_seeds": asdict(whole) | {"told_apart": whole.told_apart} if whole else None,
        "differences": [asdict(one) for one in verdict.differences],
    }

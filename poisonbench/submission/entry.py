"""What every record must meet that comes from somebody else, before it enters a store, a folder or a verification."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from poisonbench.errors import ValidationError
from poisonbench.experiment.cell_hash import refuse_another_cell
from poisonbench.store.record import Record
from poisonbench.store.shipped import shipped_hashes, shipped_ids

_CLOCKS_DIFFER = timedelta(days=1)


def check(record: Record) -> None:
    """Refuse a record of another cell than it says, or of a time that cannot be. What its signature says is checked
    when it is read, as is every bound of its fields.

    Raises:
        ValidationError: with the first thing that is wrong.
    """
    if record.record_id in shipped_ids():
        if record.content_hash not in shipped_hashes():
            raise ValidationError(f"it has the id of a published record, {record.record_id}, and is another.")
        return
    refuse_another_cell(record)
    started, finished = map(datetime.fromisoformat, (record.started_at, record.finished_at))
    if finished < started:
        raise ValidationError(f"it finished at {record.finished_at}, before it started at {record.started_at}.")
    if finished > datetime.now(UTC) + _CLOCKS_DIFFER:
        raise ValidationError(f"it finished at {record.finished_at}, which is still to come. Is this clock right?")

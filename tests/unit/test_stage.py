"""Stage.steps: killed anywhere and resumed, a loop ends in the same bits."""

import time
from pathlib import Path

import pytest
import torch

from poisonbench.errors import StageTimeoutError
from poisonbench.stages import stage as stage_module
from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.stages.stage import TRACE_POINTS, Deadline, Silent, Stage, Trace

STEPS = 5


@pytest.fixture(autouse=True)
def save_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", -1.0)


def stage(checkpoint: Checkpoint, **options: object) -> Stage:
    return Stage(torch.Generator().manual_seed(0), checkpoint=checkpoint, **options)


def loops(stage: Stage, kill_at: int = -1) -> list[int]:
    """Two loops that draw and add up; the second starts from what the first found. Returns the final bits and how many
    steps ran; stops in step `kill_at` of the ten, after half of its work."""
    ran, state = 0, {"sum": torch.zeros(3), "last": torch.zeros(1, dtype=torch.int64)}
    for name in ("first", "second"):
        if name == "second":
            state = {"sum": state["sum"].clone(), "other": state["sum"] * 2}
        for step in stage.steps(name, STEPS, state):
            state["sum"] += torch.rand(3, generator=stage.generator)
            if ran == kill_at:
                raise KeyboardInterrupt
            key = "last" if name == "first" else "other"
            state[key] = state[key] + step
            ran += 1
    drawn = torch.rand(2, generator=stage.generator)  # after the loops the generator stands where it would have
    return [*torch.cat([state["sum"], state["other"], drawn]).view(torch.int32).tolist(), ran]


@pytest.mark.parametrize("kill_at", range(2 * STEPS))
def test_killed_in_any_step_it_resumes_to_the_same_bits(kill_at: int, tmp_path: Path) -> None:
    *whole, ran = loops(stage(Checkpoint(None)))
    assert ran == 2 * STEPS
    with pytest.raises(KeyboardInterrupt):
        loops(stage(Checkpoint(tmp_path)), kill_at)
    *resumed, ran = loops(stage(Checkpoint(tmp_path)))
    assert resumed == whole
    assert ran == 2 * STEPS - kill_at  # a finished loop is not run again


def test_finished_loops_are_not_run_again(tmp_path: Path) -> None:
    *whole, _ = loops(stage(Checkpoint(tmp_path)))
    *again, ran = loops(stage(Checkpoint(tmp_path)))
    assert (again, ran) == (whole, 0)


def test_short_loops_save_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", 60.0)
    loops(stage(Checkpoint(tmp_path / "kept")))
    assert not (tmp_path / "kept").exists()


def test_past_its_deadline_it_saves_and_then_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "SAVE_EVERY_S", 60.0)
    *whole, _ = loops(stage(Checkpoint(None)))
    with pytest.raises(StageTimeoutError, match=rf"first passed its deadline after step 1 of {STEPS}\. Run again"):
        loops(stage(Checkpoint(tmp_path), deadline=Deadline(time.monotonic() - 1)))
    *resumed, ran = loops(stage(Checkpoint(tmp_path)))
    assert resumed == whole
    assert ran == 2 * STEPS - 1


def test_a_state_of_other_keys_starts_again(tmp_path: Path) -> None:
    for _ in stage(Checkpoint(tmp_path)).steps("loop", 3, {"a": torch.zeros(1)}):
        pass
    state = {"b": torch.zeros(1)}
    assert list(stage(Checkpoint(tmp_path)).steps("loop", 3, state)) == [0, 1, 2]


class Watch(Silent):
    def __init__(self) -> None:
        self.seen: list[tuple[object, ...]] = []

    def begin(self, task: str, total: int | None, done: int) -> None:
        self.seen.append(("begin", task, total, done))

    def advance(self, task: str, done: int, measures: dict[str, float]) -> None:
        self.seen.append((task, done, dict(measures)))

    def end(self, task: str) -> None:
        self.seen.append(("end", task))


def test_progress_hears_of_every_step_and_of_an_early_end() -> None:
    watch = Watch()
    at_work = stage(Checkpoint(None), progress=watch)
    for step in at_work.steps("loop", 2, {}):
        at_work.report(loss=float(step))
    assert watch.seen == [
        ("begin", "loop", 2, 0), ("loop", 1, {"loss": 0.0}), ("loop", 2, {"loss": 1.0}), ("end", "loop"),
    ]  # fmt: skip
    watch.seen.clear()
    late = stage(Checkpoint(None), progress=watch, deadline=Deadline(time.monotonic() - 1))
    with (
        pytest.raises(StageTimeoutError, match="count passed its deadline after step 1"),
        late.counted("count") as tick,
    ):
        tick()
    assert watch.seen == [("begin", "count", None, 0), ("count", 1, {}), ("end", "count")]


def test_deadlines() -> None:
    assert not Deadline.after(None).passed
    assert not Deadline.after(60).passed
    assert Deadline.after(-1).passed


def test_parts_have_streams_of_their_own_and_one_part_has_the_whole_stage() -> None:
    def draw(k: int, own: Stage) -> list[float]:
        return torch.rand(3, generator=own.generator).tolist()

    whole = stage(Checkpoint(None))
    assert whole.each(draw, 1) == [draw(0, stage(Checkpoint(None)))]
    parts = stage(Checkpoint(None)).each(draw, 3)
    assert parts == stage(Checkpoint(None)).each(draw, 3)
    assert len({tuple(part) for part in parts}) == 3


def test_parts_killed_in_the_middle_resume_to_the_same_bits(tmp_path: Path) -> None:
    def add(k: int, own: Stage, kill: bool) -> list[float]:
        state = {"sum": torch.zeros(3)}
        for step in own.steps(f"part {k}", STEPS, state):
            state["sum"] += torch.rand(3, generator=own.generator)
            if kill and (k, step) == (1, 2):
                raise KeyboardInterrupt
        return state["sum"].tolist()

    whole = stage(Checkpoint(None)).each(lambda k, own: add(k, own, kill=False), 3)
    with pytest.raises(KeyboardInterrupt):
        stage(Checkpoint(tmp_path)).each(lambda k, own: add(k, own, kill=True), 3)
    assert stage(Checkpoint(tmp_path)).each(lambda k, own: add(k, own, kill=False), 3) == whole


def climb(at_work: Stage, total: int, kill_at: int = -1) -> dict[str, Trace]:
    """A loop that reports a figure each step, another at every third and one that is not finite."""
    for step in at_work.steps("climb", total, {"at": torch.zeros(1)}):
        at_work.report(loss=step / 3)
        if step % 3 == 0:
            at_work.report(residual=-float(step))
        if step == kill_at:
            raise KeyboardInterrupt
        at_work.report(infinite=float("inf"))
    return at_work.traces


def test_a_trace_holds_what_was_reported_at_evenly_spaced_steps_and_at_the_last() -> None:
    assert climb(stage(Checkpoint(None)), 4) == {
        "climb": {
            "step": [1, 2, 3, 4],
            "loss": [0.0, 0.333333, 0.666667, 1.0],
            "residual": [0.0, None, None, -3.0],
            "infinite": [None] * 4,
        }
    }
    long = climb(stage(Checkpoint(None)), 5 * TRACE_POINTS - 1)["climb"]["step"]
    assert long == [*range(5, 5 * TRACE_POINTS - 1, 5), 5 * TRACE_POINTS - 1]
    assert [step + 1 for step in range(len(long) * 5 - 1) if Stage.traced(step, len(long) * 5 - 1)] == long
    assert len(long) == TRACE_POINTS


@pytest.mark.parametrize("kill_at", [0, 1, 7, 10])
def test_a_resumed_loop_has_the_trace_of_a_whole_one(kill_at: int, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        climb(stage(Checkpoint(tmp_path)), 11, kill_at)
    assert climb(stage(Checkpoint(tmp_path)), 11) == climb(stage(Checkpoint(None)), 11)
    assert climb(stage(Checkpoint(tmp_path)), 11) == climb(stage(Checkpoint(None)), 11)  # it is not run again


def converge(at_work: Stage, kill_at: int = -1) -> dict[str, Trace]:
    """A loop that ends in its seventh step, as a stopping rule does, far from its last; after another."""
    state = {"at": torch.zeros(1)}
    for step in at_work.steps("converge", 1000, state):
        if float(state["at"]) > 5:
            break
        state["at"] += 1
        at_work.report(error=1 / float(state["at"]))
        if step == kill_at:
            raise KeyboardInterrupt
    for _ in at_work.steps("after", 1, {}):
        pass
    return at_work.traces


def test_a_loop_that_ends_early_leaves_its_trace_with_its_last_figures() -> None:
    assert converge(stage(Checkpoint(None))) == {"converge": {"step": [6], "error": [0.166667]}}

    def left(at_work: Stage) -> dict[str, Trace]:
        for step in at_work.steps("left", 4, {}):
            at_work.report(loss=float(step))
            if step == 2:
                break
        return at_work.traces

    assert left(stage(Checkpoint(None))) == {"left": {"step": [1, 2, 3], "loss": [0.0, 1.0, 2.0]}}


@pytest.mark.parametrize("kill_at", [0, 3, 5])
def test_a_resumed_loop_that_ends_early_has_the_trace_of_a_whole_one(kill_at: int, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        converge(stage(Checkpoint(tmp_path)), kill_at)
    assert converge(stage(Checkpoint(tmp_path))) == converge(stage(Checkpoint(None)))


def test_loops_without_figures_leave_no_trace_and_parts_leave_theirs() -> None:
    at_work = stage(Checkpoint(None))
    for _ in at_work.steps("silent", 3, {}):
        pass
    assert at_work.traces == {}

    def part(k: int, own: Stage) -> None:
        for _ in own.steps(f"part {k}", 2, {}):
            own.report(k=float(k))

    at_work.each(part, 3)
    assert at_work.traces == {f"part {k}": {"step": [1, 2], "k": [k, k]} for k in range(3)}


def test_untimed_work_counts_neither_at_once_nor_after_a_resume(tmp_path: Path) -> None:
    def watched(kill_at: int) -> tuple[Stage, float]:
        began, one = time.monotonic(), stage(Checkpoint(tmp_path))
        before = one.now()
        for step in one.steps("watched", 4, {"sum": torch.zeros(1)}):
            if step == kill_at:
                raise KeyboardInterrupt
            with one.untimed():
                time.sleep(0.2)
        assert time.monotonic() - began >= 0.2
        return one, one.now() - before

    with pytest.raises(KeyboardInterrupt):
        watched(3)
    assert Checkpoint(tmp_path).seconds() < 0.15
    one, spent = watched(-1)
    assert (len(one.untimed_s), spent < 0.15) == (1, True)
    assert Checkpoint(tmp_path).seconds() < 0.15

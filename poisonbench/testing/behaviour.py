"""The part of the contract about how a method behaves, whatever it returns."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from unittest import SkipTest

import torch

from poisonbench.files.scratch import scratch_folder
from poisonbench.guard.method_errors import first_line
from poisonbench.stages.checkpoint import Checkpoint
from poisonbench.testing import scaling
from poisonbench.testing.contract import Advice, Contract, fix
from poisonbench.testing.fresh_process import fingerprint_elsewhere
from poisonbench.testing.interruption import Killed, StepCounter, save_every_step
from poisonbench.testing.observation import Result, fingerprint, global_seed, observe, run_method, stage_of


class Behaviour(Contract):
    """The part of the contract about how a method behaves, whatever it returns."""

    @fix("Clone a tensor of the view before writing to it: view.train.x.clone().")
    def test_inputs_are_not_changed(self) -> None:
        """Inputs unmutated.

        The view holds the runner's own tensors; changing them would poison what is not counted.
        """
        assert not self.observed().changed, "it changed a tensor of its view."

    @fix("Draw every random number from stage.generator, on the CPU, and keep nothing between two runs.")
    def test_same_generator_same_bytes(self) -> None:
        """Determinism: the same generator, the same bytes.

        All randomness comes from `stage.generator`: not from global generators or what ran before.
        """
        first = fingerprint(self.observed().result)
        with global_seed(2):
            assert fingerprint(self._run_method()) == first, "two runs of one seed differ."

    @fix("Do not depend on the order of sets, on hash(), id(), the time, the process or what ran before.")
    def test_fresh_process_same_bytes(self) -> None:
        """Determinism in a fresh process."""
        first = fingerprint(self.observed().result)
        found = fingerprint_elsewhere(self.method, self.game, self.limit)
        assert found == first, "a fresh process gives other bytes."

    @fix("Pass generator=stage.generator wherever you draw; never call torch.manual_seed, numpy.random or random.")
    def test_global_generators_are_untouched(self) -> None:
        """Global random generators untouched: torch's, numpy's, Python's."""
        # A library that the first run imports may draw while it is imported; the method draws every time.
        drew = self.observed().drew and observe(self.method, self.game).drew
        assert not drew, "it drew from, or seeded, a global generator."

    @fix("Put every tensor that the loop changes into the `state` of stage.steps, under keys that stay the same.")
    def test_killed_and_resumed_gives_the_same_bytes(self) -> None:
        """Resume after a kill gives the same bytes.

        Killed in its first, middle and last step, each time after it was resumed from the one before, a loop under
        `stage.steps` ends in the same bits.
        """
        self.observed()
        with save_every_step(), scratch_folder() as folder:
            counter = StepCounter()
            whole = fingerprint(self._run_method(counter, Checkpoint(folder / "whole")))
            if counter.steps == 0:
                raise SkipTest("it runs no loop under stage.steps: there is nothing to resume.")
            checkpoint, done = Checkpoint(folder / "killed"), 0
            for kill_at in sorted({1, (counter.steps + 1) // 2, counter.steps}):
                try:
                    self._run_method(StepCounter(kill_at - done), checkpoint)
                except Killed:
                    done = kill_at - 1
                else:
                    raise AssertionError("it swallowed a kill: never catch BaseException.")
            again = StepCounter()
            assert fingerprint(self._run_method(again, checkpoint)) == whole, (
                f"killed in the first, middle and last of {counter.steps} steps and resumed, the result differs."
            )
            assert again.steps == 1, "the loop was not resumed: its state's keys changed."

    @fix("Use what the view holds, and nothing else: no dataset, no network.")
    def test_reaches_no_test_data(self) -> None:
        """No test data reachable: opens no dataset's file and no connection."""
        acts = self.observed().acts
        assert not acts, f"{self.name} {'; '.join(acts)}."

    @fix("Replace no function of others, join every thread that you start, and leave os.fork to multiprocessing.")
    def test_leaves_the_process_as_it_was(self) -> None:
        """Leaves no function replaced, no thread running, no copy of the process."""
        left = self.observed().left
        assert not left, f"it {'; it '.join(left)}."

    @fix("Remove the print, or use stage.report(loss=…), which the bar shows and the record keeps.")
    def test_prints_nothing(self) -> None:
        """Prints nothing.

        A warning alone: the runner sends what is printed to standard error.
        """
        printed = self.observed().printed
        if printed:
            said = f"it printed {len(printed)} characters: {first_line(Exception(printed))!r}."
            warnings.warn(said, Advice, stacklevel=2)

    @fix("Take device and dtype from the data; draw on the CPU, then move; avoid steps that a rounding error can turn.")
    def test_cuda_agrees_with_cpu(self) -> None:
        """CPU and CUDA agree.

        95 % of the rows: of a poison set the same label and source and no pixel further than 1/255, of a defense the
        same verdict. Rounding errors of 1e-7 are not the method's fault, and a long loop makes them visible.
        """
        if not torch.cuda.is_available():
            raise SkipTest("this machine has no GPU.")
        here = self.observed().result
        there = run_method(self.method, self.game, stage_of(self.method, device=torch.device("cuda")))
        share = self.agreement(here, there)
        self.notes.append(f"{100 * share:.0f} % of the rows agree")
        assert share >= 0.95, f"only {100 * share:.0f} % of the rows agree, expected 95 %."

    @fix("Work in batches; avoid what compares every row with every other more than once.")
    def test_cost_grows_at_most_quadratically(self) -> None:
        """Time and memory scale with ε and N.

        Information: only growth that is clearly worse than quadratic in N fails, and only where it can be measured.
        """
        self.observed()
        by_epsilon = scaling.scaling_in_epsilon(self.method, self.game)
        by_n = scaling.scaling_in_n(self.method, self.game)
        self.notes.extend((scaling.described("ε", by_epsilon), scaling.described("N", by_n)))
        power = scaling.exponent(by_n, doublings=2)
        assert by_n[-1].seconds < scaling.LONG_S or power < 2.5, f"time grows as N^{power:.1f}."

    @abstractmethod
    def agreement(self, here: Result, there: Result) -> float:
        """The share of the rows in which results of two devices agree."""

    def _run_method(self, progress: StepCounter | None = None, at: Checkpoint | None = None) -> Result:
        return run_method(self.method, self.game, stage_of(self.method, progress, at))

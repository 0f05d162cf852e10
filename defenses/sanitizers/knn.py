"""k-NN defense: drop the rows whose nearest neighbours are far, or labelled otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from poisonbench.defenses.base import Scores
from poisonbench.defenses.sanitizers.base import Sanitizer, groups
from poisonbench.defenses.sanitizers.nearest_neighbours import nearest_neighbours
from poisonbench.errors import ConfigError
from poisonbench.plugins.registry import register
from poisonbench.problem.field_checks import check_integers
from poisonbench.stages.stage import Stage


@register("knn")
@dataclass(frozen=True)
class KNN(Sanitizer):
    """Score = distance to the k-th nearest neighbour among all rows, or the share of the k labelled otherwise.

    No row is its own neighbour, but its duplicates are. Where there are fewer than k others, all are neighbours; a row
    with none scores 0.

    Fields:
        k: neighbours; 5 in the paper.
        measure: `distance` to the k-th, as in the paper. `sum` of the distances to all k, as in its released code,
            which counts the row itself among its k = 5, so that is k = 4 here. `disagreement`: the share of the k with
            another label, after Peri et al. 2020 (with space=features) and Paudice et al. 2018; they delete, or
            relabel, every row that its neighbours outvote, here the quota goes, and of equal shares the earlier rows.
        per_class: look for neighbours within the row's own class. The paper ignores labels.
        fraction, balanced: 3 % of every class goes; the paper's released code drops 5 % of every class.
        space: raw pixels, as in the paper and without training, or the penultimate features of a model trained on all.
    """

    version: ClassVar[int] = 1
    paper = "koh2022stronger"
    cost = "one training run, two on features, and 2 n² d operations; memory of the rows and of 512 n distances"

    k: int = 5
    measure: Literal["distance", "sum", "disagreement"] = "distance"
    per_class: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integers(self, k=1)
        if self.per_class and self.measure == "disagreement":
            raise ConfigError("defense.per_class: expected false if measure=disagreement: a class agrees with itself.")

    def anomaly(self, x: Tensor, y: Tensor, stage: Stage) -> Scores:
        """See Sanitizer."""
        scores = x.new_zeros(len(x))
        with stage.counted("nearest neighbours") as tick:
            for rows in groups(y, self.per_class):
                k = min(self.k, len(rows) - 1)
                if k:
                    labels = y[rows]
                    distances, near = nearest_neighbours(x[rows], k, tick)
                    scores[rows] = self._measured(distances, labels[near] != labels[:, None])
        return Scores(scores)

    def _measured(self, distances: Tensor, other: Tensor) -> Tensor:
        """The scores from the neighbours' distances and whether their label is another, both (rows, k)."""
        match self.measure:
            case "distance":
                return distances[:, -1]
            case "sum":
                return distances.sum(1)
            case "disagreement":
                return other.to(distances.dtype).mean(1)

"""Which parameters poison can reach at all: the threshold of Lu, Kamath & Yu, ICML 2023."""

from __future__ import annotations

import math

from scipy.special import lambertw


def threshold(product: float, classes: int, hinge: bool = False) -> float:
    """The threshold τ(w) = ⟨w, ḡ⟩ / W((C − 1) / e): no poison fraction below it makes w a stationary point of the
    training loss.

    One point's gradient of the cross entropy satisfies ⟨w, ∇_w ℓ(x, y; w)⟩ = Σ_k p_k (s_k − s_y) ≥ −W((C − 1) / e);
    that of the multi-class hinge, s_j − s_y where 1 + s_j − s_y > 0, is above −1, which stands for −W there. So ε
    points per clean point cannot cancel more. For a linear model whose x is unbounded τ is also enough; a box around
    the pixels makes it only necessary.

    Args:
        product: ⟨w, ḡ⟩, w the output layer's weights and ḡ the clean loss's gradient with respect to them.
        classes: C.
        hinge: whether the loss is the multi-class hinge.
    Returns:
        τ; negative if the clean loss falls along w, so that any ε is above it.
    Source: section 3 of the paper; W is Lambert's function.
    """
    return product if hinge else product / float(lambertw((classes - 1) / math.e).real)

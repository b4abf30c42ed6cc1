"""What `predict` and `classify` share: probabilities, and what a terminal can show."""

import sys

import numpy as np

import minialex as mx


def shares_of(logits: np.ndarray, weights) -> np.ndarray:
    """What share of its trust the network gives to each class: softmax."""
    if not np.isfinite(logits).all():
        raise mx.NotFinite(
            f"with the weights of {weights} the network gives {logits.max()}: they are of no use"
        )
    share = np.exp(logits.astype(np.float64) - logits.max())
    return share / share.sum()


def can_show(text: str) -> bool:
    """Does the terminal have these characters?"""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True

"""Seeds of random generators."""

from __future__ import annotations

import numpy as np

from hiermodels.core.messages import short
from hiermodels.errors import SpecError

type Seed = int | np.random.Generator | np.random.SeedSequence | None


def generator(random_seed: Seed) -> np.random.Generator:
    """Make a generator from a seed; one that is given is returned.

    Raises
    ------
    SpecError
        If it is no seed.
    """
    cause: Exception | None = None
    try:
        rng = np.random.default_rng(random_seed)
    except (TypeError, ValueError) as error:
        cause = error
    if cause or isinstance(random_seed, np.random.RandomState):  # which cannot be spawned from
        raise SpecError(
            f"random_seed: expected a non-negative integer, a numpy Generator or SeedSequence, or "
            f"None; found {short(random_seed)}"
        ) from cause
    return rng


def named_seed(random_seed: Seed, name: str) -> np.random.SeedSequence:
    """Seed of a stream apart from all others that are made from the same ``random_seed``."""
    rng = generator(random_seed)
    if random_seed is None or isinstance(random_seed, (int, np.integer)):
        return np.random.SeedSequence(random_seed, spawn_key=tuple(name.encode()))
    return spawned(rng, 1)[0]


def spawned(rng: np.random.Generator, count: int) -> list[np.random.SeedSequence]:
    """Seeds of so many streams apart from a generator's own, others at each call."""
    return rng.bit_generator.seed_seq.spawn(count)  # type: ignore[attr-defined]


def integer_seed(random_seed: Seed) -> int:
    """Turn a seed into the integer that a sampler takes; a Generator moves on."""
    if isinstance(random_seed, int | np.integer) and random_seed >= 0:
        return int(random_seed)
    return int(generator(random_seed).integers(2**31))


def stream(seed: np.random.SeedSequence, *key: int) -> np.random.Generator:
    """Make the generator of one of many independent streams of a seed, by its number."""
    own = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key))
    return np.random.default_rng(own)

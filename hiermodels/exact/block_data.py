"""From a specification and data to the arrays of groups with several effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hiermodels.core.arrays import Floats, Indices
from hiermodels.data.grouped import GroupedData, require_rows
from hiermodels.data.statistics import SufficientStatistics
from hiermodels.data.strata import strata_of
from hiermodels.data.stratum_statistics import StratumStatistics
from hiermodels.exact.blocks.model import BlockModel, CovariancePrior, is_broad
from hiermodels.exact.correlated_rows import blocks_of_correlated
from hiermodels.exact.kernels.blocks.blocks import Blocks
from hiermodels.exact.kernels.blocks.strata import is_shared
from hiermodels.exact.kernels.blocks.stratified import stratified, together
from hiermodels.families.normal import STRATA
from hiermodels.model.level import INTERCEPT
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec

MANY_ROWS = 3_000_000  # whose log likelihood is rounded to 1e-9
FAR = 1e6  # residual sds


@dataclass(frozen=True)
class Layout:
    """Where the parameters of a specification stand among those of the arrays.

    Attributes
    ----------
    spec : Spec
    """

    spec: Spec

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """What varies at any level: the p effects, in the order of the coefficients."""
        vary = {term for level in self.spec.levels for term in level.terms}
        return tuple(term for term in (INTERCEPT, *self.spec.covariates) if term in vary)

    @cached_property
    def others(self) -> tuple[str, ...]:
        """What has a coefficient and does not vary: the q further covariates."""
        top = (INTERCEPT,) if self.spec.has_intercept else ()
        return tuple(term for term in (*top, *self.spec.covariates) if term not in self.terms)

    @cached_property
    def fixed(self) -> tuple[bool, ...]:
        """Which of the effects have a mean at the root; (p,)."""
        return tuple(term != INTERCEPT or self.spec.has_intercept for term in self.terms)

    @cached_property
    def coefficients(self) -> tuple[str, ...]:
        """Terms of the coefficients: the root's effects, then the further ones; (c,)."""
        at_root = (term for term, fixed in zip(self.terms, self.fixed, strict=True) if fixed)
        return (*at_root, *self.others)

    @property
    def intercept(self) -> int:
        """Which coefficient is the intercept."""
        return self.coefficients.index(INTERCEPT)

    @cached_property
    def beta(self) -> Indices:
        """Which coefficient belongs to each covariate; (q,)."""
        return np.array([self.coefficients.index(n) for n in self.spec.covariates], dtype=np.intp)

    def effects(self, level: int) -> Indices:
        """Which of the p effects vary at a level, in the order of its terms."""
        terms = self.spec.levels[level].terms
        return np.array([self.terms.index(term) for term in terms], dtype=np.intp)

    def sds(self, level: int) -> Indices:
        """Which sds of the model are a level's, in the order of its terms."""
        return _part([len(own.terms) for own in self.spec.levels], level)

    def correlations(self, level: int) -> Indices:
        """Which correlations of the model are a level's, in the order of its pairs."""
        return _part([len(own.pairs) for own in self.spec.levels], level)

    def arrays(self, rows: Floats, one: Floats) -> Floats:
        """[z | x | y] of rows (r, .) of covariates and outcome, given the intercept's column."""
        return np.column_stack([*self.split(rows[:, :-1], one), rows[:, -1]])

    def split(self, x: Floats, one: Floats | None = None) -> tuple[Floats, Floats]:
        """Columns z (r, p) of the effects and x (r, q) of the rest, of covariates (r, .).

        The intercept's column (r,) is 1 by default.
        """
        columns = {name: x[:, j] for j, name in enumerate(self.spec.covariates)}
        columns[INTERCEPT] = np.ones(len(x)) if one is None else one
        z, rest = ([columns[term] for term in terms] for terms in (self.terms, self.others))
        return np.array(z).T.reshape(len(x), -1), np.array(rest).T.reshape(len(x), -1)


def _part(sizes: Sequence[int], number: int) -> Indices:
    """Places of one of some parts of these sizes that stand one behind the other."""
    return np.arange(sum(sizes[:number]), sum(sizes[: number + 1]))


def block_model(spec: Spec, data: GroupedData) -> BlockModel:
    """The model as arrays."""
    layout, levels = Layout(spec), spec.levels
    names = [spec.intercept if t == INTERCEPT else f"beta[{t}]" for t in layout.coefficients]
    priors = [spec.coefficient_prior(str(name)).mean_and_precision() for name in names]
    mean, precision = np.array(priors, dtype=float).reshape(-1, 2).T
    blocks, covariances = _blocks(layout, data), range(len(levels))
    every = [_covariance_prior(layout, number) for number in covariances]
    if len(blocks.sizes) > len(levels):  # cells of strata
        every.append(CovariancePrior((None,) * blocks.p))
    *others, last = [spec.residual_sds[k] for k in strata_order(spec, data)] or [""]
    return BlockModel(
        blocks=blocks,
        levels=tuple(every),
        sigma=spec.variance_prior(last) if last else Fixed(1.0),
        mean=mean,
        precision=precision,
        names=(*(name for level in levels for name in level.sds), *others),
        columns=spec.groups,
        effects=layout.terms,
        strata=tuple(map(spec.variance_prior, others)),
        sigma_name=last or "sigma",
    )


def blocks_of(spec: Spec, data: GroupedData) -> BlockModel | None:
    """The model as blocks, if these take it: where σ is integrated, or groups have many effects.

    Where σ is known or cannot be integrated by itself, and without an intercept, the recursion of
    intercepts (:mod:`hiermodels.exact.kernels.tree`) takes models of one or two columns of groups.
    It keeps more digits, too, where the groups lie very far from 0 or rows are very many.
    """
    if not spec.is_normal or not spec.groups:
        return None
    if spec.is_blocks:
        return block_model(spec, data)
    broad = all(is_broad(spec.variance_prior(name)) for name in spec.sds)
    if not (spec.has_sigma and spec.has_intercept and broad) or data.n_rows > MANY_ROWS:
        return None
    model = block_model(spec, data)
    return model if model.relative and not _is_far(model) else None


def _is_far(model: BlockModel) -> bool:
    """Whether groups' means, as numbers of 16 digits, have few beside the rows' sd."""
    blocks = model.blocks
    means = blocks.outcome[0, -1] / blocks.designs[0, 0, blocks.design]
    return bool(np.abs(means).max() > FAR * model.typical_sigma)


def strata_order(spec: Spec, data: GroupedData) -> list[int]:
    """Residual sds in the order of the arrays: that of the stratum with the most rows is last."""
    if not spec.strata:
        return list(range(len(spec.residual_sds)))
    count = data.rows_of_strata
    last = int(count.argmax())
    return [*(k for k in range(len(count)) if k != last), last]


def stratum_of_rows(spec: Spec, data: GroupedData) -> Indices:
    """Each row's stratum, in the order of the arrays; (N,)."""
    code = strata_of(require_rows(data, STRATA).columns)
    return np.argsort(strata_order(spec, data))[code]


def residual_sds(
    spec: Spec, data: GroupedData, known: Mapping[str, Floats], size: int
) -> list[Floats]:
    """Values (size,) of each residual sd in the order of the arrays; 1 where errors are known.

    Parameters
    ----------
    known : mapping of str to array
        With ``sigma``, (size,) or (size, K), if it is unknown.
    """
    if not spec.has_sigma:
        return [np.ones(size)]
    return list(known["sigma"].reshape(size, -1).T[strata_order(spec, data)])


def place_of_residual_sds(spec: Spec, data: GroupedData) -> Indices:
    """Where the residual sds of a specification stand among the sds of the arrays; (K,)."""
    first = sum(len(level.sds) for level in spec.levels)
    return first + np.argsort(strata_order(spec, data))


def _covariance_prior(layout: Layout, number: int) -> CovariancePrior:
    level = layout.spec.levels[number]
    priors = dict(zip(level.terms, level.priors, strict=True))
    return CovariancePrior(tuple(priors.get(term) for term in layout.terms), level.eta)


def _blocks(layout: Layout, data: GroupedData) -> Blocks:
    parents = tuple(level.parent for level in data.levels[1:])
    if isinstance(data, SufficientStatistics):
        if layout.spec.strata:
            return _blocks_of_strata(layout, data, parents)
        return blocks_of_statistics(layout, data, data.log_weight, parents)
    rows = require_rows(data, "the exact posterior")
    z, x = layout.split(rows.design.matrix)
    columns = z, x, rows.y
    if rows.covariance is not None:
        return blocks_of_correlated(columns, rows.group, parents, rows.covariance, layout.fixed)
    if not layout.spec.strata:
        return Blocks.of(columns, rows.group, parents, rows.precision, layout.fixed)
    stratum, size = stratum_of_rows(layout.spec, data), len(layout.spec.strata)
    has_cells = is_shared(rows.group, stratum)
    return stratified(
        columns, rows.group, parents, rows.precision, layout.fixed, (stratum, size, has_cells)
    )


def _blocks_of_strata(
    layout: Layout, data: SufficientStatistics, parents: tuple[Indices, ...]
) -> Blocks:
    """Of each stratum by itself; groups with rows of several have a cell for each."""
    order, parts = strata_order(layout.spec, data), []
    for k, place in enumerate(order):
        parts.append((k, blocks_of_statistics(layout, data.by_stratum[place], 0.0)))
    group = np.concatenate([data.by_stratum[place].group for place in order])
    stratum = np.repeat(np.arange(len(order)), [len(data.by_stratum[k].group) for k in order])
    by_group = np.lexsort([stratum, group])
    if len(group) > data.n_groups:
        parents = (*parents, group[by_group])
    whole = together(parts, stratum[by_group], len(order), parents)
    return replace(whole, log_weight=data.log_weight)


def blocks_of_statistics(
    layout: Layout,
    data: SufficientStatistics | StratumStatistics,
    log_weight: float,
    parents: tuple[Indices, ...] = (),
) -> Blocks:
    """Of each group √ω times its means, and what it says of its slopes; of all, what is left."""
    root = np.sqrt(data.weight)
    means = (data.mean + data.rest) * root[:, None]
    if data.slopes is None:
        own, left = np.zeros((len(means), 0, means.shape[1])), data.scatter
    else:
        own, left = data.slopes.rows, data.slopes.rest
    size, axes = np.linalg.eigh(left)
    free = np.sqrt(np.maximum(size, 0.0))[:, None] * axes.T
    rows = np.concatenate([means[:, None], own], axis=1)
    one = np.zeros(rows.shape[:2])
    one[:, 0] = root
    stack = layout.arrays(rows.reshape(-1, rows.shape[2]), one.ravel())
    p = len(layout.terms)
    return Blocks.of_rotated(
        rows=stack.reshape(*rows.shape[:2], -1),
        free=layout.arrays(free, np.zeros(len(free)))[:, p:],
        size=(int(data.count.sum()), log_weight),
        fixed=layout.fixed,
        parents=parents,
    )

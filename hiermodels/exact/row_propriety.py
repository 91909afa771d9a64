"""Whether a posterior of counts exists, where covariates may vary within groups.

At fixed sds the effects have proper priors, and the rows themselves must not be separated by the
coefficients with flat priors (rule 1 of :mod:`hiermodels.exact.leaf_propriety`, with a row in place
of a group).  As the sd of a level grows, its members go wherever their rows allow, as those of an
outer level do in that module: rows stand for its groups, of an sd that is 0.
"""

from __future__ import annotations

from dataclasses import replace

from hiermodels.core.arrays import Indices
from hiermodels.data.grouped import GroupedRows
from hiermodels.exact.leaf_data import (
    leaf_design,
    leaves_of,
    leaves_of_rows,
    row_of_each,
    vary_within,
    with_intercept,
)
from hiermodels.exact.leaf_propriety import check
from hiermodels.model.priors.variance import Fixed
from hiermodels.model.spec import Spec


def require_proper(spec: Spec, rows: GroupedRows) -> None:
    """Raise ImproperPosteriorError if the posterior does not exist.

    Of covariates that vary within groups it is checked what each level needs by itself.  With two
    levels of groups it may take a little more where the priors of both their sds are improper.

    Parameters
    ----------
    spec : Spec
        Of rows that are not normal.
    rows : GroupedRows
        Or sums of rows that are alike.
    """
    x = with_intercept(spec, rows.design.matrix)
    row = row_of_each(rows.group, rows.n_groups)
    if not vary_within(x, rows.group, row):
        check(leaf_design(spec, rows, leaves_of(spec, rows), x[row]))
        return
    whole = leaf_design(spec, rows, leaves_of_rows(spec, rows), x)
    labels = [f"row {number}" for number in range(rows.n_rows)]
    member: Indices = rows.group
    for number, level in reversed(list(enumerate(spec.levels))):
        column = whole.wording.groups[number]
        of_level = replace(
            whole,
            labels=labels,
            wording=replace(whole.wording, groups=(column, "rows")),
            priors={level.sd: level.prior, "rows": Fixed(0.0)},
            parent=member,
            n_parents=len(rows.levels[number]),
        )
        check(of_level)
        member = rows.levels[number].parent[member]

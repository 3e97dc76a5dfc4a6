"""Page of the tables that Python users get: columns, dtypes and units."""

from __future__ import annotations

from docs.generate.markdown import NOTICE, code, table
from segwatch.client.columns import DOCUMENTED, Table

_INTRODUCTION = """# Tables in Python

Columns of the GeoDataFrames of [`segwatch.connect()`](python.md), in their order, from the database and over HTTP. What
a column means is in [views and functions](views.md), under the same name. dtypes are those of pandas: all but `float64`
have `pandas.NA` or `NaT` where the view has null, `float64` has NaN. Geometries are in `geom`.

"""


def page() -> str:
    """Return the page: one table for each method."""
    return NOTICE + _INTRODUCTION + "\n".join(_section(name, one) for name, one in DOCUMENTED.items())


def _section(name: str, one: Table) -> str:
    rows = [(code(column), code(kind.dtype), kind.unit) for column, kind in one.columns.items()]
    time = f" `start` and `end` refer to `{one.time}`." if one.time else ""
    source = f"From `watch.{one.view}`; a row is identified by {' and '.join(f'`{key}`' for key in one.key)}.{time}"
    return f"## s.{name}\n\n{source}\n\n" + table(("column", "dtype", "unit"), rows)

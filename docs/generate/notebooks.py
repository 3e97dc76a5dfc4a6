"""Page of the notebooks in ``examples/notebooks``, so that they can be read without starting one."""

from __future__ import annotations

import json
import re
from pathlib import Path

from docs.generate.markdown import NOTICE, ROOT

#: In the order of the page.
NAMES = ("monitoring", "flood", "accuracy")
_FOLDER = ROOT / "examples" / "notebooks"
_HEADING = re.compile(r"^(#+) ", re.MULTILINE)
_INTRODUCTION = """# Notebooks

The notebooks of `examples/notebooks`, to read; a test runs them. To work with one, open it in Jupyter:

```console
pip install 'segwatch[analysis]' jupyterlab
jupyter lab examples/notebooks
```

"""


def page() -> str:
    """Return the page: text and code of each notebook, one after the other."""
    return NOTICE + _INTRODUCTION + "\n".join(_section(_FOLDER / f"{name}.ipynb") for name in NAMES)


def _section(file: Path) -> str:
    document = json.loads(file.read_text(encoding="utf-8"))
    parts = [_cell(one["cell_type"], "".join(one["source"])) for one in document["cells"]]
    path = f"`{file.relative_to(ROOT).as_posix()}`"
    first, *rest = parts
    heading, _, words = first.partition("\n")
    return "\n\n".join([heading, path, words.strip(), *rest]) + "\n"


def _cell(kind: str, source: str) -> str:
    # the page has one heading of the first level, and a semicolon only keeps Jupyter from printing what a cell returns
    if kind == "markdown":
        return _HEADING.sub(r"#\1 ", source)
    return f"```python\n{source.removesuffix(';')}\n```"

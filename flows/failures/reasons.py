"""Count reasons by kind: reasons that differ only in addresses or numbers count as one."""

from __future__ import annotations

import re

from segwatch.geo.text.storable import shorten

#: Further kinds are counted together, because catalogs and servers can put anything into a reason.
_MAX_KINDS = 20
_MAX_LETTERS = 400
OTHERS = "other reasons"
_ADDRESS = re.compile(r"\(?https?://\S+")
_NUMBER = re.compile(r"\d[\d.,]*")


class Reasons(dict[str, int]):
    """The first reason of each kind -> how many there were."""

    def add(self, reason: str) -> None:
        """Count one more reason."""
        kind = _kind(reason)
        known = next((one for one in self if _kind(one) == kind), None)
        if known is None:
            known = shorten(reason, _MAX_LETTERS) if len(self) < _MAX_KINDS else OTHERS
        self[known] = self.get(known, 0) + 1


def _kind(reason: str) -> str:
    return _NUMBER.sub("#", _ADDRESS.sub("", shorten(reason, _MAX_LETTERS)))

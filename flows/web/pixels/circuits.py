"""Hosts of imagery that do not answer: after some failures nobody waits for them, until one more try succeeds."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

#: Failures in a row that open the circuit of a host, and for how long.
MAX_FAILURES = 3
OPEN_SECONDS = 15.0
_MAX_HOSTS = 1000


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    open_until: float = 0.0


class Circuits:
    """What is known of hosts, the last :data:`_MAX_HOSTS` of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: OrderedDict[str, _Circuit] = OrderedDict()

    def __len__(self) -> int:
        """Hosts that failed lately."""
        return len(self._hosts)

    def open_seconds(self, hosts: Collection[str]) -> float:
        """For how long one of the hosts is left alone; 0: they may be asked."""
        known = [self._hosts[one] for one in hosts if one in self._hosts]
        return max((one.open_until - self._clock() for one in known), default=0.0)

    def trying(self, hosts: Collection[str]) -> None:
        """A host that was left alone is asked once more; others wait for what comes of it."""
        for host in hosts:
            circuit = self._hosts.get(host)
            if circuit is not None and circuit.failures >= MAX_FAILURES:
                circuit.open_until = self._clock() + OPEN_SECONDS

    def failed(self, hosts: Collection[str]) -> None:
        """They did not answer in time."""
        for host in hosts:
            circuit = self._hosts.setdefault(host, _Circuit())
            self._hosts.move_to_end(host)
            circuit.failures += 1
            if circuit.failures >= MAX_FAILURES:
                circuit.open_until = self._clock() + OPEN_SECONDS
        while len(self._hosts) > _MAX_HOSTS:
            self._hosts.popitem(last=False)

    def answered(self, hosts: Collection[str]) -> None:
        """They did."""
        for host in hosts:
            self._hosts.pop(host, None)

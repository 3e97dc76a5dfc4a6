"""Circuit breaker for hosts of imagery: after some failures a host is left alone for a while, then probed once."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

#: Consecutive failures that open the circuit of a host, and for how long.
MAX_FAILURES = 3
OPEN_SECONDS = 15.0
_MAX_HOSTS = 1000


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    open_until: float = 0.0


class HostCircuits:
    """Circuits of the hosts that failed most recently, at most :data:`_MAX_HOSTS`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: OrderedDict[str, _Circuit] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of hosts that failed recently."""
        return len(self._hosts)

    def open_seconds(self, hosts: Collection[str]) -> float:
        """Return for how long the circuit of any of the hosts stays open; not positive if all are closed."""
        known = [self._hosts[one] for one in hosts if one in self._hosts]
        return max((one.open_until - self._clock() for one in known), default=0.0)

    def start_probe(self, hosts: Collection[str]) -> None:
        """Let this request probe hosts whose circuit was open; other requests wait for its outcome."""
        for host in hosts:
            circuit = self._hosts.get(host)
            if circuit is not None and circuit.failures >= MAX_FAILURES:
                circuit.open_until = self._clock() + OPEN_SECONDS

    def record_failure(self, hosts: Collection[str]) -> None:
        """Record that the hosts did not respond in time."""
        for host in hosts:
            circuit = self._hosts.setdefault(host, _Circuit())
            self._hosts.move_to_end(host)
            circuit.failures += 1
            if circuit.failures >= MAX_FAILURES:
                circuit.open_until = self._clock() + OPEN_SECONDS
        while len(self._hosts) > _MAX_HOSTS:
            self._hosts.popitem(last=False)

    def record_success(self, hosts: Collection[str]) -> None:
        """Record that the hosts responded; closes their circuits."""
        for host in hosts:
            self._hosts.pop(host, None)

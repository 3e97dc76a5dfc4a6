"""The queue of observations: leases on them, the outcomes of attempts, and what remains to be done."""

from segwatch.db.ledger.leases import MAX_LOST_LEASES as MAX_LOST_LEASES
from segwatch.db.ledger.leases import PROBE_SECONDS as PROBE_SECONDS
from segwatch.db.ledger.leases import CircuitsOf as CircuitsOf
from segwatch.db.ledger.leases import LeasedObservation as LeasedObservation
from segwatch.db.ledger.leases import SceneLease as SceneLease
from segwatch.db.ledger.leases import lease as lease
from segwatch.db.ledger.leases import release as release
from segwatch.db.ledger.leases import renew as renew
from segwatch.db.ledger.outcomes import fail as fail
from segwatch.db.ledger.outcomes import fail_held as fail_held
from segwatch.db.ledger.outcomes import forgive as forgive
from segwatch.db.ledger.outcomes import retry as retry
from segwatch.db.ledger.outcomes import save as save
from segwatch.db.ledger.outcomes import skip as skip
from segwatch.db.ledger.progress import OpenWork as OpenWork
from segwatch.db.ledger.progress import has_waiting as has_waiting
from segwatch.db.ledger.progress import is_due_within as is_due_within
from segwatch.db.ledger.progress import list_free as list_free
from segwatch.db.ledger.progress import list_other_leases as list_other_leases
from segwatch.db.ledger.progress import list_untouched as list_untouched
from segwatch.db.ledger.progress import read_open_work as read_open_work

"""Where the tree and the data of the tests lie, and where services of tests keep theirs."""

import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
#: In memory, making a database out of the template takes a tenth of the time.
_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 4 * 2**30


def make_home(name: str) -> Path:
    """Make a folder for the data of services, which their own accounts can enter; the caller removes it.

    Folders of pytest cannot be entered by other accounts when the tests run as root.
    """
    roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ENOUGH_BYTES
    home = Path(tempfile.mkdtemp(prefix=f"segwatch-{name}-", dir=_MEMORY if roomy else "/tmp"))
    home.chmod(0o755)
    return home

#!/usr/bin/env python3
"""Exit with 0 if the address given answers with success within four seconds: the health check of the images."""

import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=4) as answer:  # noqa: S310 - the image's own address
    sys.exit(0 if answer.status == 200 else 1)

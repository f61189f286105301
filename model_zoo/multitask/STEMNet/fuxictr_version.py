"""Find the FuxiCTR that this entry runs with: an installed one, else the checkout around it."""

import sys

sys.path.append("../../../")
import fuxictr  # noqa: E402

if tuple(int(part) for part in fuxictr.__version__.split(".")[:3]) < (2, 3, 10):
    sys.exit(f"error: STEMNet needs FuxiCTR 2.3.10 or newer, found {fuxictr.__version__}.")

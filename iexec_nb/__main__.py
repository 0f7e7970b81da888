"""``python -m iexec_nb`` is the command ``iexec-nb``."""

import sys

from iexec_nb.cli import main

sys.exit(main())

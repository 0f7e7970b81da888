"""The noun ``protected_data``: values that apps can use and nobody can see, as iExec's DataProtector has them."""

from __future__ import annotations

from iexec_nb.actions.protected_bulk import ProtectedBulk
from iexec_nb.actions.protected_grants import ProtectedGrants
from iexec_nb.actions.protected_making import ProtectedMaking
from iexec_nb.actions.protected_processing import ProtectedProcessing
from iexec_nb.commands import noun


@noun("protected-data")
class ProtectedDataActions(ProtectedMaking, ProtectedGrants, ProtectedProcessing, ProtectedBulk):
    """Protected data: encrypt values, grant their use, and run apps on them, one by one or in bulks."""

"""Exit statuses that say more than that something failed."""

LOSS = 3

"""Identity and life of a discrepancy: the ledger that publishing and reviews stand upon."""

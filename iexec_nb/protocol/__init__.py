"""The rules of iExec: pure functions and records, without network, clock, disk or randomness of their own."""

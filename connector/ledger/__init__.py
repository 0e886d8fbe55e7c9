"""The ledger: the settled positions of each source, and the account that must balance.

Also the file of each source, which has the ledger and the waiting messages.

Knows: records, state, threads.
"""

"""The ledger: what is settled of each source, and the account that must balance. Also the file of each source, in which
the ledger stands together with the messages that wait.

Knows: records, state, threads.
"""

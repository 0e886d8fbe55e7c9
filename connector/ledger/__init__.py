"""What is settled of each source, and the account that balances.

Knows: records, state, threads.
"""

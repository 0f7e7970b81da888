"""One file per remote counterpart, and the only place that talks to it.

Each class here takes what it needs as arguments (a way to send requests, a chain id, a signer) and gives back raw
records or bytes; what they mean is decided in ``protocol``. The sandbox replaces the counterparts behind the same
transports, so that nothing above this room knows whether it talks to the world or to a local copy of it.
"""

"""The SimPy shell: requests arrive, routers send them to replicas, on one clock."""

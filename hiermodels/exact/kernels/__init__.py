"""Effects integrated out given the hyperparameters: one folder for each structure of groups.

A kernel knows arrays alone: neither frames nor specifications.  A new one is a folder, a line in
``registry``, and a case in ``tests/contracts/test_kernels_contract.py``, whose tests run on it by
themselves.

- ``kernel``: the protocol: what the exact engine asks of a kernel
- ``records``: what kernels take and return
- ``registry``: all kernels, by family and structure
- ``tree``: nested groups with one normal effect each
- ``blocks``: nested groups with several normal effects each
- ``crossed``: crossed groups with one normal effect each
- ``leaves``: integrals over effects to which the rows are not conjugate, given their mean and sd
"""

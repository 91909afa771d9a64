"""Effects integrated out given the sds: one folder for each structure of groups.

A kernel knows arrays alone: neither frames nor specifications.

- ``tree``: nested groups with one normal effect each
"""

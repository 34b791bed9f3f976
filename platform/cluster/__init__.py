"""Ray: where stages run when more than one process or machine works.

The only room that imports it, beside the trials of a search.
Uses `training`, `stages` and what lies below them.
"""

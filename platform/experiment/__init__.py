"""A study, whatever the kind of its arms: plan, graph of stages, run, record.

Uses everything below `arms`; what is special about a kind of arm stands in its folder there.
"""

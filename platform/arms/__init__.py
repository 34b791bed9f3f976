"""The kinds of study, one folder each: trained networks, methods, agreements, uncertainties, tunings,
searches.

A kind uses `experiment` and all below it, and no other kind above it.
"""

"""How one grey image is restored: what identifies its blur, what removes a known one, and what that leaves unexplained.

May use `platform` and what lies below; images of any size, with channels and frames, are the matter of those above.
"""

"""What the machine and the operating system ask of us: files, locks, disks, processes, terminals, seeds and errors.

Knows nothing of images or science; uses nothing of deepblur but the version.
"""

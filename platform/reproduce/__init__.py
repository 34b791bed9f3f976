"""A recorded run made again, from its record alone."""

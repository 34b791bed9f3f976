"""The commands of the experiment platform: options and help. What they call has keywords and is documented."""

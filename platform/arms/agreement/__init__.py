"""Do the parts of one recording tell of one lens? A method's PSFs held against one another, without a truth."""

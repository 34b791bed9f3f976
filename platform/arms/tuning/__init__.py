"""The settings of handcrafted methods, tuned on validation images before they are compared."""

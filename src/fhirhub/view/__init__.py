"""The store as one caller may see it."""

"""Attempts to get at what is not yours."""

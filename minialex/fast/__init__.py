"""Twins: faster texts of what layers do, for one kind of device each. Loaded by name, when first needed."""

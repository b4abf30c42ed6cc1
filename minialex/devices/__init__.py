"""Devices: where arrays live and work is done, and how arrays move between them."""

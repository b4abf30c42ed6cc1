"""What `python -m minialex` can be asked for, a file for each command: its options, and what it does."""

"""Every number of a pass, by name; and the page that steps through it."""

"""The pool: lends connections, has borrowers wait, and counts."""

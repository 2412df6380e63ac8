"""The papers' tables: which runs they are made of, what is missing, and published beside measured numbers."""

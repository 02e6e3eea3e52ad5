"""Hostile and broken media, made by seeded code when tests run: `corpus.CASES` is the table."""

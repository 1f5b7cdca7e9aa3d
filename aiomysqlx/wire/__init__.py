"""The wire: bytes to rows and rows to bytes, and what a session is.

Knows neither SQLAlchemy nor the pool.
"""

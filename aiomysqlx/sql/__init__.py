"""From constructs and parameters to what is sent: statements, plans, packets.

Knows SQLAlchemy, and no socket.
"""

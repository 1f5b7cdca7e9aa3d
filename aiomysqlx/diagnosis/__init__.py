"""A diagnosis: what is installed, what a server and its network are like, and what to change.

`gathering` fills in the `facts`, `judging` finds what is slow or unsafe in them, and `printing`
makes text or JSON of both. Nothing here is imported but by `python -m aiomysqlx`.
"""

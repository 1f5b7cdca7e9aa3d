"""The changes that no test can notice, or need not, each with its reason; see `mutants.py`.

An entry names what stands in the source, not where: it holds until its statement changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from mutations import Mutant


@dataclass(frozen=True)
class Known:
    """Changes of a function's statement, all of them if none is named, and why they survive."""

    source: str
    function: str
    code: str
    changes: tuple[str, ...]
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Tell whether *mutant*, one of the source's, is among them."""
        return (
            mutant.function == self.function
            and mutant.code == self.code
            and (not self.changes or mutant.change in self.changes)
        )


KNOWN: list[Known] = []

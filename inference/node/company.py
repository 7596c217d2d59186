"""Which models may never, and which must always, be in memory together. Pure; names only.

Set by the operator in config/hub.json; asked by the scheduler and by what-if.
"""

from dataclasses import dataclass

Groups = tuple[frozenset[str], ...]


@dataclass(frozen=True, slots=True)
class Company:
    apart: Groups = ()
    together: Groups = ()

    def foes(self, name: str) -> frozenset[str]:
        """Give those that must have left before it comes."""
        return _others(self.apart, name)

    def friends(self, name: str) -> frozenset[str]:
        """Give those that come and leave with it."""
        return _others(self.together, name)


def _others(groups: Groups, name: str) -> frozenset[str]:
    found = (group for group in groups if name in group)
    return frozenset[str]().union(*found) - {name}

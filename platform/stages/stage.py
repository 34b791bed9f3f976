"""A stage: work that is done once and reused, identified by the hash of its full specification.

The hash covers every field, seed included, the fingerprint of the pixels (not their path), the code that the stage
runs, a user's own included, and the stages that it needs. Two arms that need the same stage therefore share it, and a
rerun carries out only what is missing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from deepblur.platform.data.sources import Source
from deepblur.platform.stages.identity import canonical, classes_in, code_of


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Anything that is done once and reused: it has a kind, a key and a folder."""

    kind: ClassVar[str]
    entry: ClassVar[tuple[str, ...]]
    """Modules that carry out every stage of this kind; what they import counts with them."""

    def runs(self) -> tuple[str, ...]:
        """Modules that carry out this stage."""
        return self.entry

    def uses(self) -> tuple[Any, ...]:
        """Functions that this stage finds by a name in its specification."""
        return ()

    def code(self) -> dict[str, str]:
        """Module → hash of its code, of all that decides about the result."""
        return code_of(self.runs(), (*classes_in(self), *self.uses()))

    def needs(self) -> tuple["Stage", ...]:
        return ()

    def reads(self) -> tuple[tuple[Source, ...], ...]:
        """The mixtures of sources whose pixels this stage looks at."""
        return ()

    def key(self, fingerprints: Mapping[tuple[Source, ...], str]) -> str:
        """32 hexadecimal digits; fingerprints: pixels' fingerprint of every tuple of sources that the stage names."""
        code = sorted(set(self.code().values()))  # a module may be renamed, and a study file run from elsewhere
        needs = [need.key(fingerprints) for need in self.needs()]  # made by other code than this stage
        spec = {"kind": self.kind, "spec": canonical(self, fingerprints), "code": code, "needs": needs}
        return hashlib.blake2b(json.dumps(spec, sort_keys=True).encode(), digest_size=16).hexdigest()

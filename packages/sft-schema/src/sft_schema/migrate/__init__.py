"""A whole config of another system, rewritten as one of ours.

    axolotl | TRL | LLaMA-Factory --(tables of sft_schema.foreign)--> our keys --(defaults made explicit)--> YAML

Nothing is lost in silence: every key of the old file is in the new one, or in the list of what changed, or in the
list of what could not be carried over, which also stands in comments at the end of the new file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from sft_schema.errors import ConfigError
from sft_schema.foreign import SYSTEMS, System
from sft_schema.migrate.carry import carry
from sft_schema.migrate.complete import complete
from sft_schema.migrate.detect import detect
from sft_schema.migrate.draft import Change, Unsupported
from sft_schema.migrate.prove import prove
from sft_schema.migrate.write import write
from sft_schema.yaml_source import read_yaml

Source = Literal["auto", "axolotl", "trl", "llamafactory"]

__all__ = ["Change", "Migration", "Source", "Unsupported", "migrate"]


@dataclass(frozen=True, slots=True)
class Migration:
    """A rewritten config.

    Attributes:
        text: the new file. `sft_schema.parse_config` accepts it, also when something was not carried over.
        changed: what is said in other words now, or was left out without loss, in the order of the old file.
        unsupported: what could not be carried over.
        source: the system that the old file was for.
        why: how that is known.
    """

    text: str
    changed: tuple[Change, ...]
    unsupported: tuple[Unsupported, ...]
    source: System
    why: str


def migrate(text: str, source: Source = "auto", *, file: str = "<text>") -> Migration:
    """Rewrites a config of axolotl, of TRL's `trl sft --config`, or of LLaMA-Factory's SFT.

    Args:
        text: the whole file, as YAML.
        source: whose it is; `auto` tells by keys that only one of them has.
        file: name of the file in errors.

    Raises:
        ConfigError: the text is not a YAML mapping, or nothing tells whose it is.
    """
    located = read_yaml(text, file)
    values: Any = located.values
    if not isinstance(values, dict):
        fix = "give a config file of axolotl, TRL or LLaMA-Factory"
        raise ConfigError([located.issue("not_a_mapping", (), "holds no `key: value` pairs", fix)])
    if located.issues:
        raise ConfigError(located.issues)
    values = cast("dict[str, Any]", values)
    system, why = detect(values, file) if source == "auto" else (source, "said by the caller")
    draft = carry(located, SYSTEMS[system])
    complete(draft, values, system)
    prove(draft)
    changed = sorted(draft.changed, key=lambda each: (each.line is None, each.line))
    return Migration(write(draft, system), tuple(changed), tuple(draft.unsupported), system, why)

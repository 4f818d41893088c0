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
SOUND_AND_FILMS = ("audio and video are not trained on", "remove it and train on text and pictures")
SIZE_OF_PICTURES = ("pictures get the size that the model's processor gives them", "remove it")
PART_OF_VISION_MODEL = (
    "which parts of a model of pictures are trained is said by the names of weights",
    "remove it and name the weights to train in `unfrozen_parameters`, or train an adapter",
)
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
    "list the data in `datasets`, with `type: completion` for plain texts; `streaming: true` in an entry reads a data "
    "set of the hub without keeping a copy",
)
COLUMNS = "columns that the format does not read are left out"
GROUPED = ("rows are not grouped by length", "write `sample_packing: true`, which fills rows better")
LAST_ROWS = ("the last rows of an epoch are always trained", "remove it")
UNPADDED = "rows are never padded: a batch holds just the tokens of its samples"
HELD_OUT_PACKED = (
    "held-out rows are packed like training rows, and as every token counts the same their loss does not change"
)

# Adapters and quantised models
LOFTQ = (
    "a start that makes up for the error of 4 bits (LoftQ) is one setting, in one round",
    "write `peft_init_lora_weights: loftq` with `adapter: qlora` and `load_in_4bit: true`",
)
QUANTISED_OTHERWISE = (
    "base models are quantised by bitsandbytes, in 4 or 8 bits",
    "write `load_in_4bit: true` or `load_in_8bit: true`",
)

# Optimizer and loss
OPTIMIZER_OF = (
    "the optimizer that it belongs to is not implemented",
    "remove it; `optimizer: adamw_torch_fused` takes adam_beta1, adam_beta2 and adam_epsilon",
)
PLAIN_LOSS = ("the loss is the plain cross-entropy of the trained tokens", "remove it")
BALANCING = ("a loss for balancing experts is not added", "remove it")
NOT_SFT = (
    "it is not supervised fine-tuning",
    "remove it and train on good answers, or use a tool for reinforcement learning",
)
BATCH_SEARCH = ("the batch size is not searched for", "remove it and lower `micro_batch_size` when memory runs out")

# Numbers, memory and kernels
FLOAT8 = ("training in float8 is not implemented", "write `bf16: auto`")
FLOAT32 = (
    "`dtype` says what weights are held in, and `bf16` what is computed in",
    "write `dtype: auto`, `float32` or `bfloat16`",
)
KERNELS = (
    "this kernel is not implemented",
    "remove it: the model's own layers are used, which gives the same numbers",
)
FUSED = "`fused_kernels: auto` puts fused layers into the model on a GPU, with the same numbers"

# Output and evaluation
SAFETENSORS = ("weights are always saved as safetensors", "remove it")
PUSHED = (
    "the result alone is uploaded to the hub, once, with the token of `hf auth login` or HF_TOKEN",
    "write `hub_model_id: owner/name`",
)
EVALUATED = (
    "only loss and generated answers are evaluated",
    "write `do_causal_lm_eval: true` for answers to held-out rows",
)
SECRET = (
    "a secret does not belong into a config, which is kept beside the model",
    "remove it and set COMET_API_KEY in the environment, or run `comet login` once",
)
SWANLAB = ("SwanLab is not connected", FILES)
PROFILED = ("the profiler has fewer settings here", "write `profiler_steps: 3` for a trace of three steps")

# Devices
FSDP_1 = "it belongs to FSDP1, and FSDP2 has no such choice"
ONE_MODEL = ("the result is always one model", "remove it; state_dict_type in fsdp_config is about checkpoints")
FSDP_LOADING = (
    "each process loads the model into the host's memory before it is sharded",
    "remove it and see that the host has room for a float32 copy of the model in each process",
)
TORCHRUN = (
    "processes are started with torchrun",
    "remove it; `torchrun --nproc-per-node N -m sft_cli train CONFIG` uses N GPUs",
)
TORCHRUN_SAYS = "torchrun says it"

# Others
IGNORED = "axolotl itself ignores it"

"""axolotl's keys about data sets as a whole, sequence length and packing."""

from __future__ import annotations

from sft_schema.foreign import sentences as say
from sft_schema.foreign.answer import no_effect, refused, renamed, same
from sft_schema.foreign.judges import switch

DATA = (
    same("datasets test_datasets val_set_size dataset_prepared_path shuffle_merged_datasets train_on_inputs seed"),
    same("dataset_exact_deduplication push_dataset_to_hub"),
    refused(*say.STREAMED, "pretraining_dataset", to="datasets"),
    refused(
        *say.STREAMED,
        "streaming_multipack_buffer_size pretrain_multipack_buffer_size",
        off="streaming pretraining_sample_concatenation pretrain_multipack_attn preprocess_iterable",
    ),
    refused(
        "data sets are joined first and shuffled then, by `shuffle_merged_datasets`",
        "remove it",
        off="shuffle_before_merging_datasets",
    ),
    refused(
        "rows come in a new random order in every epoch",
        "remove it",
        off="curriculum_sampling",
    ),
    refused(*say.PREPARED, off="skip_prepare_dataset"),
    refused(
        "prepared data are one file for each block of rows, and read from there",
        "remove it; `dataset_prepared_path` says where they are kept",
        "num_dataset_shards_to_save dataset_shard_num dataset_shard_idx",
        off="dataset_keep_in_memory",
    ),
    same("dataloader_pin_memory dataloader_num_workers dataloader_prefetch_factor"),
    same("dataset_num_proc"),
    renamed("dataset_processes", "dataset_num_proc"),
    refused(*say.LAST_ROWS, off="dataloader_drop_last"),
    no_effect(say.COLUMNS, "remove_unused_columns"),
    no_effect("a login of the hub is used when there is one", "hf_use_auth_token"),
    refused(*say.GROUPED, off="group_by_length"),
)

LENGTH = (
    same("sequence_len excess_length_strategy sample_packing"),
    refused(
        "one length holds for all rows",
        "remove it; `sequence_len` holds for training and evaluation",
        "eval_sequence_len",
    ),
    refused("short samples are kept", "remove it, or remove short rows from the data", "min_sample_len"),
    refused("this is for preference training", "remove it; `sequence_len` is the limit", "max_prompt_len"),
    no_effect("axolotl removed it", "max_packed_sequence_len"),
    no_effect(say.UNPADDED, "pad_to_sequence_len pad_to_multiple_of"),
    no_effect(say.HELD_OUT_PACKED, "eval_sample_packing"),
    no_effect(
        "packing looks at all samples at once and needs no tuning",
        "sample_packing_group_size sample_packing_bin_size sample_packing_mp_start_method sample_packing_eff_est "
        "sample_packing_seq_len_multiplier multipack_real_batches total_num_tokens total_supervised_tokens",
    ),
    renamed("sample_packing_sequentially", "packing_strategy", switch({"packing_strategy": "sequential"})),
    no_effect("samples of a batch are joined without padding anyway", "batch_flattening", accepts=(True, "auto")),
    refused(
        "positions are not stretched",
        "remove it",
        "pose_split_on_token_ids pose_max_context_len pose_num_chunks",
        off="use_pose",
    ),
)

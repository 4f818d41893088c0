"""Supervised fine-tuning on the Hugging Face Trainer with an exact loss and exact resume.

    from sft_train.run import run          # the whole path; imports torch and transformers
    from sft_train.observer import Observer  # what a run tells its caller; imports neither

Nothing heavy is imported here, so that a program can name the observer without waiting for torch.
"""

import logging

# bitsandbytes, which peft imports, warns on some CPUs that it has looked for a kernel of the hub and found none. No run
# uses it (`sft_train.model.quantise`), and every command would begin with that line.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

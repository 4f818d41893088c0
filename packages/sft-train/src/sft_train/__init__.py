"""Supervised fine-tuning on the Hugging Face Trainer with an exact loss and exact resume.

    from sft_train.run import run          # the whole path; imports torch and transformers
    from sft_train.observer import Observer  # what a run tells its caller; imports neither

Nothing is imported here, so that a program can name the observer without waiting for torch.
"""

"""The `sft` command: from one YAML to a fine-tuned model and a report of it."""

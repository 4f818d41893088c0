"""One command a file, each holding a click command called `command`.

`sft_cli.main` imports a file when its command is used, and the command's function imports what it runs, so
that `sft --help` and `sft validate` stay fast.
"""

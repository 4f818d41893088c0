"""Runs pieces of code in processes that need no second to start, because torch and transformers are imported already.

    python tests/forked.py

Each line of standard input is a JSON list of `{"code": ..., "log": ...}`. A child is forked for each of them, with its
output in the file `log`; their process ids are printed as a JSON list, and when all have ended their exit codes, which
are negative for those that a signal ended. See the fixture `forks`.
"""

import gc
import json
import os
import sys
import traceback

import torch
import transformers.models.llama.modeling_llama  # transformers imports a model's code when it is first used

import sft_train.run

torch.set_num_threads(1)
PRELOADED = (transformers, sft_train)


def become(code: str, log: str) -> None:
    """Runs code in this process and ends it."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    status = 1
    try:
        exec(code, {"__name__": "__main__"})
        status = 0
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        if status == 1:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # what the parent has registered for its own end is not for the child


def answer(numbers: list[int]) -> None:
    sys.stdout.write(json.dumps(numbers) + "\n")
    sys.stdout.flush()


def main() -> None:
    gc.freeze()  # a child that collects garbage need not look at all that was imported
    for line in sys.stdin:
        children = []
        for job in json.loads(line):
            child = os.fork()
            if child == 0:
                become(job["code"], job["log"])
            children.append(child)
        answer(children)
        answer([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])


main()

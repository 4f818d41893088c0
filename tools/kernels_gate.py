"""Compiles every triton kernel of sft-kernels for GPUs that need not be here, and compares what the GPU would spend.

Each module `triton` of an op says with `specialisations()` which forms of its kernels it launches. They are compiled
for Ampere, Hopper and Blackwell, and triton's own ptxas says how many registers a thread takes and how many bytes it
spills. packages/sft-kernels/tests/kernels.json holds these numbers, so that a change of a kernel shows them.

    python tools/kernels_gate.py            what differs from the file; a spill of more bytes is an error in any case
    python tools/kernels_gate.py --write    writes the file
"""

import argparse
import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import sft_kernels.ops
from sft_kernels.launch import Specialisation

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "packages" / "sft-kernels" / "tests" / "kernels.json"
CAPABILITIES = (80, 90, 100)
CHANGING = {
    "n_rows",
    "n_tokens",
    "n_batches",
    "n_positions",
    "positions_stride_b",
    "n_documents",
    "total_q",
    "dlse_stride",
}
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas-blackwell"

Numbers = dict[str, dict[str, int]]


def specialisations() -> list[Specialisation]:
    """Those of all ops, by the folders that have kernels."""
    folders = sorted(path.parent.name for path in Path(sft_kernels.ops.__path__[0]).glob("*/triton.py"))
    modules = [importlib.import_module(f"sft_kernels.ops.{folder}.triton") for folder in folders]
    return [form for module in modules for form in module.specialisations()]


def unspecialised(form: Specialisation) -> set[str]:
    """Arguments whose values a kernel is not compiled for."""
    return {each.name for each in form.kernel.params if each.do_not_specialize}


def compiling_again(forms: list[Specialisation]) -> list[str]:
    """Kernels that another number of tokens, of documents or of positions would compile again."""
    return sorted(
        {
            f"{form.name}: {name} changes from batch to batch; add it to do_not_specialize"
            for form in forms
            for name in CHANGING.intersection(form.kernel.arg_names) - unspecialised(form)
        }
    )


def compiled(form: Specialisation, capability: int) -> Any:
    """The kernel for a capability; pointers and sizes are taken to be divisible by 16, as launches find them.

    Not so sizes that change from batch to batch, which no kernel may be compiled for.
    """
    names, changing = form.kernel.arg_names, unspecialised(form)
    constants = {name: value for name, value in form.constants.items() if name in names}
    types = {name: "constexpr" if name in constants else form.types.get(name, "i32") for name in names}
    aligned = [name for name in names if types[name].startswith("*") or (types[name] == "i32" and name not in changing)]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(form.kernel, types, constants, attributes)
    options = {"num_warps": form.warps, "num_stages": form.stages, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def spent(form: Specialisation, capability: int) -> dict[str, int]:
    """Registers of a thread, spilled bytes, bytes of shared memory, and instructions on tensor cores."""
    kernel = compiled(form, capability)
    ptx = kernel.asm["ptx"]
    target = re.search(r"\.target (\w+)", ptx)
    if target is None:
        raise SystemExit(f"{form.name}: no .target in the PTX for sm_{capability}")
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [PTXAS, "-v", "--gpu-name", target[1], file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {
        "registers": int(re.findall(r"Used (\d+) registers", said)[-1]),
        "spilled": sum(int(size) for size in re.findall(r"(\d+) bytes spill (?:stores|loads)", said)),
        "shared": kernel.metadata.shared,
        "tensor_core": len(re.findall(r"wgmma\.mma_async|mma\.sync|tcgen05\.mma", ptx)),
    }


def measured(forms: list[Specialisation]) -> Numbers:
    return {
        f"{form.name} warps={form.warps} stages={form.stages} sm_{capability}": spent(form, capability)
        for form in forms
        for capability in CAPABILITIES
        if capability in form.capabilities
    }


def differences(golden: Numbers, now: Numbers, same_triton: bool) -> list[str]:
    """What is new, gone or changed; with another triton than the file's, only larger spills."""
    found = [f"{name}: not compiled any more" for name in golden.keys() - now.keys()]
    for name, numbers in now.items():
        before = golden.get(name)
        if before is None:
            found.append(f"{name}: not in the file: {numbers}")
        elif numbers["spilled"] > before["spilled"] or (same_triton and numbers != before):
            found.append(f"{name}: {numbers}, in the file {before}")
    return sorted(found)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Compile all kernels, without a GPU, and compare what they spend.")
    parser.add_argument("--write", action="store_true", help="write the file instead of comparing with it")
    write = parser.parse_args(arguments).write
    again = compiling_again(specialisations())
    if again:
        print(*again, sep="\n")
        return 1
    now = measured(specialisations())
    if write:
        lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in now.items())
        GOLDEN.write_text(f'{{\n  "triton": "{triton.__version__}",\n  "kernels": {{\n{lines}\n  }}\n}}\n')
        return 0
    golden = json.loads(GOLDEN.read_text())
    found = differences(golden["kernels"], now, golden["triton"] == triton.__version__)
    print(*found, sep="\n")
    print(f"{len(now)} kernels compiled, {len(found)} differ (after a change: python tools/kernels_gate.py --write)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

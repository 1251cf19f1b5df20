"""The tests of vectors, convolutions and specializations once more, compiled for narrower vectors than this machine's: as an older CPU runs them.

The next narrower: AVX2's 8 lanes where there are AVX-512's 16, SSE's 4 where there are 8.
"""

import os
import subprocess
import sys
from pathlib import Path

from fastconv.kernels.simd.host import registers

ROOT = Path(__file__).parent.parent
NARROWER = {  # bytes of this machine's vectors: bytes, CPU name and features of the others; a name alone would leave this machine's features on
    64: (32, "haswell", "+avx2,+fma"),
    32: (16, "nehalem", "+sse4.2"),
}
REGISTERS = "tests/kernels/simd/test_registers.py"
TESTS = (
    "tests/kernels/simd",
    "tests/kernels/elementwise",
    "tests/kernels/winograd",
    "tests/kernels/compile/test_specializations.py",
    "tests/ops/test_convolution.py",
    "tests/kernels/test_prepared.py",
)
LANES = "from fastconv.kernels.simd.host import registers; assert registers().bytes == {}, registers(); print('now', registers())"


def run(cpu: str, features: str, *arguments: str) -> None:
    """Python with these arguments, as if on that CPU; SystemExit with its code where it fails."""
    environment = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    print(f"$ NUMBA_CPU_NAME={cpu} NUMBA_CPU_FEATURES={features} python", *arguments, flush=True)
    code = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment).returncode
    if code:
        raise SystemExit(code)


def main() -> None:
    here = registers()
    print("here", here, flush=True)
    if here.bytes not in NARROWER:
        print("no narrower vectors here")
        return
    width, cpu, features = NARROWER[here.bytes]
    run(cpu, features, "-c", LANES.format(width))
    run(cpu, features, "-m", "pytest", "-n", "2", "--dist", "loadfile", *TESTS)
    if width == 32:  # LLVM unrolls the loops for this one, and needs more registers; the code is read, not run
        run("znver3", features, "-m", "pytest", REGISTERS)


if __name__ == "__main__":
    main()

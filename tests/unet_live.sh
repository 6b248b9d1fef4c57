#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Other U-Nets than those of golden/unet.bin, against diffusers on the spot, where it is installed.
. "${srcdir:-.}/tests/lib.sh"
python=${PYTHON:-python3}
here=$(dirname "$diffx")

"$python" -c 'import diffusers, torch' 2>/dev/null || skip "$python has no torch or diffusers (PYTHON names another)"
nice "$python" "$top/tests/golden/unet.py" live.bin --live >said 2>&1 || { echo "Bail out! golden/unet.py failed"; show said; exit 1; }
"$here/tests/unet.t" live.bin

#!/bin/sh
# Check the cards of this machine; where there is no NVIDIA driver, do the same job on a bundled
# case and say so. Ends with 0 itself and prints the exit code that the check gave.
set -u
gpuverify=${1:-gpuverify}
"$gpuverify" check
code=$?
if [ "$code" -eq 69 ]; then
  echo
  echo "The same job on a bundled case (a REPLAY, not a card of this machine): an A100 40 GB sold as 80 GB"
  echo "\$ gpuverify check --replay ga100/a100-40gb-sold-as-80gb --claim a100-sxm4-80gb"
  "$gpuverify" check --replay ga100/a100-40gb-sold-as-80gb --claim a100-sxm4-80gb
  code=$?
fi
echo
echo "The check ended with exit code $code (0 consistent, 1 suspect, 2 mismatch, 3 not enough evidence)."

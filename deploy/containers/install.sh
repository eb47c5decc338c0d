#!/bin/sh
# Fills /opt/crossfix inside a build: the requirements of one image at the constraints' versions.
# Only wheels: a build stage has no compiler, and no package's own code may run at build time.
set -eu

pip() { /opt/tools/bin/python -m pip --python /opt/crossfix/bin/python "$@"; }
site=$(/opt/crossfix/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

pip install --no-cache-dir --only-binary :all: \
  --constraint /opt/constraints.txt --requirement /opt/requirements.txt
pip check

# Packages ship their own tests, and pyarrow headers for compilers: 30 MB of the service's image.
find "$site" -type d \( -name tests -o -path "$site/pyarrow/include" \) -prune -exec rm -r {} +

# Our code lies beside the packages, in /opt/code. A .pth file, not PYTHONPATH: programs that the
# service starts have an environment of their own.
echo /opt/code > "$site/crossfix-code.pth"

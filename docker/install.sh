#!/bin/sh
# install.sh VENV LOCK [editable]: a virtual environment with exactly what the lock file says, and the bot in it.
# Called by the Makefile and by the Dockerfile, so that both install the same way.
set -eu
venv=$1
lock=$2
how=${3:-}
python=${PYTHON:-python3}

if ! command -v "$python" >/dev/null; then
    echo "There is no $python here. Install Python 3.11 or newer, or set PYTHON=/path/to/python3.11" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "opsbot needs Python 3.11 or newer; $python is $("$python" -V 2>&1). Set PYTHON=/path/to/python3.11" >&2
    exit 1
fi
if [ ! -x "$venv/bin/pip" ]; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        # Debian keeps ensurepip in a package of its own.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "Python's venv module is incomplete here: installing Debian's python3-venv." >&2
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
        else
            echo "Python's venv module is incomplete here: run 'sudo apt-get install python3-venv', then try again." >&2
            exit 1
        fi
    fi
    "$python" -m venv "$venv"
fi
# The lock is complete, so nothing is resolved here: pip's own resolver asks for the newest release of a requirement with
# extras before it looks at the pin, and then stops because that release has no hash. pip check proves the completeness.
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$lock"
if [ "$how" = editable ]; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
else
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation .
fi
"$venv/bin/pip" check --disable-pip-version-check

#!/bin/sh
# install.sh PYTHON VENV LOCK: make the virtual environment and bring it to what the lock says.
# uv is used where it is on PATH (seconds), else venv and pip. Neither ever downloads an interpreter.
set -eu
python=$1 venv=$2 lock=$3

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "Golub needs Python 3.11 or newer, and '$python' is not. Name one: make PYTHON=python3.12 ..." >&2
    exit 1
}
echo "Installing $lock into $venv ..."
if command -v uv >/dev/null 2>&1; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --no-python-downloads --python "$python" "$venv"
    uv pip install --quiet --python "$venv/bin/python" --require-hashes -r "$lock"
else
    [ -x "$venv/bin/pip" ] || "$python" -m venv "$venv" || {
        echo "venv failed: on Debian and Ubuntu, 'apt install python3-venv' brings it." >&2
        exit 1
    }
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$lock"
fi

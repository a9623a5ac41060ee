#!/bin/sh
# lock.sh PYTHON: resolve pyproject.toml into requirements/*.lock, for every platform and Python from 3.11 on.
# test.lock is resolved first and binds the other two, so that all three agree on every version.
set -eu
tool=$(mktemp -d)
trap 'rm -rf "$tool"' EXIT
"$1" -m venv "$tool"
"$tool/bin/pip" install --quiet --disable-pip-version-check uv
resolve() {
    "$tool/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-header --no-annotate pyproject.toml "$@"
}
resolve --upgrade --extra test -o requirements/test.lock
resolve --extra run -c requirements/test.lock -o requirements/run.lock
resolve -c requirements/test.lock -o requirements/production.lock

#!/usr/bin/env bash
# Makes the checkout's own environment, .venv, from uv.lock: finds Python 3.12, installs uv in it,
# and lets uv do the rest. Run by make when pyproject.toml or uv.lock has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly UV_VERSION=0.13.9
readonly WANTED=3.12

fail() {
  echo "make: $*" >&2
  exit 1
}

is_wanted() {
  [ -n "$1" ] && [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$WANTED" ]
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" "python$WANTED" python3 python \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$WANTED".*/bin/python \
    /usr/bin/python$WANTED /usr/local/bin/python$WANTED /opt/homebrew/bin/python$WANTED; do
    if is_wanted "$candidate"; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  if command -v uv >/dev/null; then
    uv python find --no-project "$WANTED" 2>/dev/null || uv python install "$WANTED" >&2 && uv python find --no-project "$WANTED" 2>/dev/null || true
  fi
}

command -v ps >/dev/null || fail "ps is missing: install procps."

unset PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

python=$(find_python)
[ -n "$python" ] || fail "Python $WANTED is needed and was not found (python3 is $(python3 --version 2>&1 | cut -d' ' -f2)): install it, such as by 'pyenv install $WANTED' or 'uv python install $WANTED', and run make again."

if ! is_wanted .venv/bin/python; then
  rm -rf .venv
  echo "making .venv with $python" >&2
  "$python" -m venv .venv || fail "$python cannot make virtual environments: install its venv module, such as python$WANTED-venv."
fi

if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
  echo "installing uv $UV_VERSION" >&2
  .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" ||
    fail "uv $UV_VERSION could not be installed from PyPI: see the lines above."
fi

echo "installing the locked dependencies" >&2
UV_PYTHON_DOWNLOADS=never .venv/bin/uv sync --frozen --quiet --python .venv/bin/python ||
  fail "uv sync failed: see the lines above."

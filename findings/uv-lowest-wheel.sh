#!/usr/bin/env bash
# uv's lowest-direct tests the newest versions when it is given a wheel, and the lowest ones when given its folder.
#
# Versions: uv 0.13.9
#
# Guess from memory: --resolution lowest-direct takes the lowest versions that a package's own requirements allow, so
#   it shows whether the lower bounds of the package still hold, built or not.
# Behaviour: of a folder the requirements are read as if they had been given, and come out lowest. Of a wheel of that
#   folder only the wheel itself is direct; what it requires is a dependency of a dependency, and the newest. A job of
#   CI that builds the wheel and installs it so tests the newest versions twice, and goes on being green when the
#   bounds are wrong. No warning.
# Fix: --resolution lowest for the wheel, or the folder in its place.
#
# Output seen (packaging>=24.0 and click>=8.1 required; the newest ones vary):
#   folder, lowest-direct  click==8.1.0 packaging==24.0
#   wheel, lowest-direct   click==8.5.1 packaging==26.4
#   wheel, highest         click==8.5.1 packaging==26.4
#   wheel, lowest          click==8.1.0 packaging==24.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet uv==0.13.9 "setuptools>=77"
cd "$work"
export UV_CACHE_DIR="$work/cache"

mkdir -p tiny/src/tiny
touch tiny/src/tiny/__init__.py
cat > tiny/pyproject.toml <<'EOF'
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "tiny"
version = "1.0"
dependencies = ["packaging>=24.0", "click>=8.1"]
EOF
"$work/venv/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir . ./tiny
echo ./tiny > folder.in
echo ./tiny-1.0-py3-none-any.whl > wheel.in

versions() {
    "$work/venv/bin/uv" pip compile --quiet --no-header --no-annotate --python "$work/venv/bin/python" \
        --resolution "$2" "$1.in" | grep == | tr '\n' ' '
}
folder=$(versions folder lowest-direct)
wheel=$(versions wheel lowest-direct)
newest=$(versions wheel highest)
lowest=$(versions wheel lowest)
printf '%-23s%s\n' "folder, lowest-direct" "$folder" "wheel, lowest-direct" "$wheel" "wheel, highest" "$newest" \
    "wheel, lowest" "$lowest"
if [ "$folder" != "$lowest" ] || [ "$wheel" != "$newest" ] || [ "$wheel" = "$folder" ]; then
    echo "the behaviour changed" >&2
    exit 1
fi

#!/bin/sh
# Install the system libraries that the Python packages need. As root on Debian it installs the missing ones;
# elsewhere it stops and prints the command to run. You can run it again: if nothing is missing, it does nothing.
#   sh docker/system-packages.sh [PYTHON]
set -eu
python=${1:-python3}

needs=""
has_library() { { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep -q "$1"; }
has_library 'libGL\.so\.1' || needs="$needs libgl1"
has_library 'libgthread-2\.0\.so\.0' || needs="$needs libglib2.0-0"
has_library 'libEGL\.so\.1' || needs="$needs libegl1" # the rendered world, drawn without a screen
command -v openssl >/dev/null 2>&1 || needs="$needs openssl" # certificates of the tests' own servers
command -v curl >/dev/null 2>&1 || needs="$needs curl" # the README's commands, which run as tests
# Tests of jobs use it; the image has no tests, and does not get it.
[ "${2:-}" != tests ] || [ -n "$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null)" ] || needs="$needs postgresql"
# Tests of the playground use it, without a screen.
[ "${2:-}" != tests ] || command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 ||
    needs="$needs chromium"
"$python" -c 'import ensurepip, venv' 2>/dev/null || needs="$needs python3 python3-venv"

[ -z "$needs" ] && exit 0
[ "$(uname -s)" = Linux ] || exit 0 # macOS and Windows wheels of OpenCV bring their own libraries.

if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        echo "Installing system packages:$needs"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        # shellcheck disable=SC2086 # one word a package
        apt-get install -y -qq --no-install-recommends $needs
        exit 0
    fi
    echo "System packages are missing. Run this once, then again what you ran:" >&2
    echo "    sudo apt-get install --no-install-recommends$needs" >&2
    exit 1
fi
echo "System libraries are missing (Debian's names:$needs). Install what your system calls them, then run this again," >&2
echo "for example: sudo dnf install mesa-libGL mesa-libEGL glib2 python3" >&2
exit 1

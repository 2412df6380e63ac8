#!/bin/sh
# Install FFCV into a Python environment, with the few system packages that FFCV builds against:
#     scripts/install_ffcv.sh .venv/bin/python
# Installing the packages needs root or passwordless sudo. Without these, the script prints the commands to run and
# exits with 0, because everything also works with loader=torch. The script never makes a set-up fail.
set -eu

python=${1:?usage: install_ffcv.sh PYTHON}
here=$(cd "$(dirname "$0")/.." && pwd)
packages="g++ pkg-config libopencv-imgproc-dev libturbojpeg0-dev libgl1 libglib2.0-0"
if ! "$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'; then
    packages="$packages python3-dev"
fi

go_on_without() {
    printf '\n%s\nFFCV is not installed; loader=torch works without it. To install FFCV, run:\n    %s\n    make setup\n\n' "$1" \
        "sudo apt-get update && sudo apt-get install -y --no-install-recommends $packages" >&2
    exit 0
}

if "$python" -c 'import ffcv.loader' 2>/dev/null; then
    echo "FFCV is already installed."
    exit 0
fi

has() {
    dpkg-query --show --showformat='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'
}

installed() {
    for package in $packages; do
        has "$package" || has "${package}t64" || return 1 # Ubuntu 24.04: libglib2.0-0 is libglib2.0-0t64
    done
}

if ! installed; then
    command -v apt-get >/dev/null || go_on_without "FFCV needs system packages, and this system has no apt-get."
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root="sudo"
    else
        go_on_without "FFCV needs system packages, and this account may not install them."
    fi
    echo "Installing the Debian packages that FFCV builds against: $packages"
    # shellcheck disable=SC2086 # a list of packages
    if ! { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages </dev/null >/dev/null; }; then
        go_on_without "apt-get could not install the system packages of FFCV."
    fi
fi

# libopencv-imgproc-dev does not contain opencv4.pc, and OpenCV's umbrella header includes all modules that
# opencv_modules.hpp lists. FFCV uses only cv::resize, so two small files take the place of the 1 GB of libopencv-dev.
shim=$(mktemp -d)
trap 'rm -rf "$shim"' EXIT
if ! pkg-config --exists opencv4; then
    mkdir -p "$shim/include/opencv2"
    printf '#define HAVE_OPENCV_CORE\n#define HAVE_OPENCV_IMGPROC\n' >"$shim/include/opencv2/opencv_modules.hpp"
    cat >"$shim/opencv4.pc" <<PC
Name: OpenCV
Description: core and imgproc only
Version: 4
Libs: -lopencv_imgproc -lopencv_core
Cflags: -I$shim/include -I/usr/include/opencv4
PC
    PKG_CONFIG_PATH="$shim${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
    export PKG_CONFIG_PATH
fi

"$python" -m pip install --quiet --constraint "$here/constraints.txt" ffcv setuptools || go_on_without "FFCV did not build."
"$python" -c 'import ffcv.loader' || go_on_without "FFCV was built but cannot be imported."
echo "FFCV is installed."

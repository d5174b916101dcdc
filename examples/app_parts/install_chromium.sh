#!/bin/sh
# Installs Chromium, in which the page is tested, where the system's package manager can, otherwise says what to install.
for name in chromium chromium-browser google-chrome; do
    command -v $name >/dev/null && exit 0
done
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null; then
    $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null
elif command -v dnf >/dev/null; then
    $as_root dnf install -y -q chromium
elif command -v pacman >/dev/null; then
    $as_root pacman -Sy --noconfirm chromium
elif command -v apk >/dev/null; then
    $as_root apk add chromium
fi
command -v chromium >/dev/null && exit 0
echo "Chromium is missing, so that the page is not tested in a browser: please install it with your package manager (on Debian: sudo apt-get install chromium)." >&2
exit 1

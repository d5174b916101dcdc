#!/bin/sh
# Installs FFmpeg (program and shared libraries) where the system's package manager can, otherwise says what to install.
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null; then
    $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq ffmpeg >/dev/null
elif command -v dnf >/dev/null; then
    $as_root dnf install -y -q ffmpeg-free
elif command -v pacman >/dev/null; then
    $as_root pacman -Sy --noconfirm ffmpeg
elif command -v apk >/dev/null; then
    $as_root apk add ffmpeg
elif command -v brew >/dev/null; then
    brew install ffmpeg
fi
command -v ffmpeg >/dev/null && exit 0
echo "FFmpeg is missing: please install it with your package manager (on Debian or Ubuntu: sudo apt-get install ffmpeg), then run make again." >&2
exit 1

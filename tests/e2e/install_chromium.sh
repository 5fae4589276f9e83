#!/usr/bin/env bash
# The browser that the page of the API is tested in, from Debian's packages, unless it is there.
set -euo pipefail
command -v chromedriver >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Chromium and its driver are missing: install chromium and chromedriver" >&2
  exit 1
fi
echo "installing Chromium for the tests of /docs" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver >&2

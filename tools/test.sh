#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Set a fresh Debian 12 up and run every test:
#
#   tools/test.sh               all layers
#   tools/test.sh py3 native    only these tox environments
set -euo pipefail
cd "$(dirname "$0")/.."

tools/bootstrap.sh
environments=${*:-pep8 py3 native functional vm neutron nova}
exec .venv/bin/tox run -e "${environments// /,}"

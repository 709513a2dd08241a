#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Shows the point of the project on a machine with nothing of it installed:
#
#   tools/demo.sh [--kills N] [--json FILE]
#
# Installs what it needs, builds, and runs tools/demo.py. Wants root and Debian 12.
# VENV=DIR takes an environment that is there already and installs nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${VENV:-}" ]; then
	"$here/bootstrap.sh"
	VENV=$here/../.venv
fi
exec "$VENV/bin/python" "$here/demo.py" "$@"

# SPDX-License-Identifier: Apache-2.0
"""How Sphinx makes the documentation: ``tox run -e docs``."""

import sys
from pathlib import Path

from vhost_brick_plugin.version import version as installed

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "ext"))

project = "vhost-brick-plugin"
copyright = "the vhost-brick-plugin authors"
release = version = installed()

extensions = [
    "cliff.sphinxext",
    "commands",
    "oslo_config.sphinxext",
    "reno.sphinxext",
    "sphinx.ext.graphviz",
]

exclude_patterns = ["transcripts"]
pygments_style = "sphinx"
html_theme = "alabaster"
html_theme_options = {"page_width": "1080px", "sidebar_width": "260px"}
html_static_path: list[str] = []
graphviz_output_format = "svg"

_ABOUT = "vhost-user datapath for virtual machines"
man_pages = [
    ("cli", "vhost-brick", "look after vhost-brickd", "", 1),
    ("config", "vhost-brick.conf", "configuration of vhost-brickd", "", 5),
    ("daemon", "vhost-brickd", _ABOUT, "", 8),
    ("metrics", "vhost-brick-exporter", "metrics of vhost-brickd for Prometheus", "", 8),
]

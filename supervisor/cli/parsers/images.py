"""Docker's verbs for images."""

from __future__ import annotations

from supervisor.cli.parsers.base import Parser, Verbs, add_filter, add_json, add_verb


def add(verbs: Verbs[Parser]) -> None:
    """Add the verbs of this family."""
    images = add_verb(verbs, "images", "images:images", "list images")
    images.add_argument("-q", "--quiet", action="store_true", help="ids only")
    images.add_argument("--no-trunc", action="store_true", help="ids in full")
    add_filter(images, "reference, label, dangling, before, since")
    add_json(images)
    load = add_verb(verbs, "load", "images:load", "take images from an archive of `docker save`")
    load.add_argument("-i", "--input", metavar="FILE", default="-", help="default: standard input")
    take = add_verb(verbs, "import", "images:import_", "make an image of a tar of a root")
    take.add_argument("-c", "--change", metavar="LINE", action="append", default=[],
                      help="an instruction as of a Dockerfile: CMD, ENV, ...")  # fmt: skip
    take.add_argument("-m", "--message", default="", help="a comment")
    take.add_argument("file", metavar="FILE|-")
    take.add_argument("name", metavar="NAME[:TAG]", nargs="?", default="")
    tag = add_verb(verbs, "tag", "images:tag", "give an image one more name")
    tag.add_argument("image", metavar="IMAGE")
    tag.add_argument("name", metavar="NAME[:TAG]")
    rmi = add_verb(verbs, "rmi", "images:rmi", "remove images")
    rmi.add_argument("-f", "--force", action="store_true", help="with all its names")
    rmi.add_argument("names", metavar="IMAGE", nargs="+")

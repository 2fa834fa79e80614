#!/usr/bin/env python3
"""Import a dashboard bundle into this Superset, replacing what has the same uuid: import_assets.py BUNDLE.zip

`superset import-dashboards` replaces the dashboard alone and leaves charts, datasets and the database that are there as
they were, so that a changed chart or address would never arrive."""

import sys
import zipfile

import yaml
from flask import g
from superset.app import create_app


def main(bundle):
    app = create_app()
    with app.app_context():
        from superset import security_manager
        from superset.commands.importers.v1.assets import ImportAssetsCommand
        from superset.commands.importers.v1.utils import get_contents_from_bundle

        with zipfile.ZipFile(bundle) as archive:
            contents = get_contents_from_bundle(archive)
        metadata = yaml.safe_load(contents["metadata.yaml"])
        contents["metadata.yaml"] = yaml.safe_dump(metadata | {"type": "assets"})
        g.user = security_manager.find_user(username="admin")
        try:
            ImportAssetsCommand(contents).run()
        except Exception as error:  # CommandInvalidError keeps its reasons to itself
            reasons = getattr(error, "normalized_messages", lambda: "")()
            sys.exit(f"import_assets.py: cannot import {bundle}: {error} {reasons}")
    print(f"imported {bundle}: {len(contents) - 1} files")


if __name__ == "__main__":
    main(sys.argv[1])

"""Use the generator as a library: what events of a snapshot are made of. Needs no root.

usage: python examples/describe_formats.py SNAPSHOT [EXPRESSION]
"""

import sys
from pathlib import Path

from traceleft import describe

snapshot, expression = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "%network"
schema = describe(snapshot, expressions=[expression])

print(len(schema.document["events"]), "events of", schema.document["release"])
for name, event in sorted(schema.document["events"].items()):
    arguments = ", ".join(f"{each['name']}: {each['kind']}" for each in event["args"])
    print(f"{name}({arguments})")

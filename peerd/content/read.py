"""The reading side of content, by its verbs: decode a block, read a file, list a directory, walk a DAG.

All without I/O: a reader says with `wants` which blocks it needs next, is given them with `give`, and says when it is
`done`. What others made ends in values or in an IntegrityError (a single block's decoding in a WireError).
"""

from peerd.content.dag_walk import DagWalk
from peerd.content.dagpb import Link
from peerd.content.directory_reader import DirectoryReader
from peerd.content.file_reader import FileReader
from peerd.content.listing import Entry, Listing
from peerd.content.unixfs import DagNode, decode

__all__ = ["DagNode", "DagWalk", "DirectoryReader", "Entry", "FileReader", "Link", "Listing", "decode"]

"""What content is made of: content ids, blocks, and the UnixFS DAGs that files and directories become; pure."""

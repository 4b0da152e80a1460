"""The `rerank` command whose Ray, if it starts one, forks its workers: `python -m tests.jobs.forked_cli`."""

from jobs.cli import main
from tests.forked_workers import FORKED, give_to_new_nodes

if __name__ == "__main__":
    give_to_new_nodes(FORKED)
    main()

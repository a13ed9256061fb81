"""`python -m metabench`"""

from metabench.cli import main

main()

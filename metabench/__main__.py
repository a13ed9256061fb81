"""`python -m metabench`"""

from metabench.cli.main import main

main()

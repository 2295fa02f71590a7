"""`python -m rectexport` is the `rectexport` command."""

from rectexport.cli.main import main

if __name__ == "__main__":
    main()

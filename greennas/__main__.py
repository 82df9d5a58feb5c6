"""``python -m greennas`` is the command ``greennas``."""

if __name__ == "__main__":  # workers import this module again
    from greennas.cli import main

    main()

"""Makes ``python -m volc_moderation`` the command ``volc-moderation``."""

from volc_moderation.cli import main

if __name__ == "__main__":
    main()

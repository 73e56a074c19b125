"""The command line: ``kroute run | show | check-config | cleanup | lab``."""

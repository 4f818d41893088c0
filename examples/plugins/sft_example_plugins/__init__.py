"""Plug-ins to read and to copy; install them with `pip install examples/plugins`."""

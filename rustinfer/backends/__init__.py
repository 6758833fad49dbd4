"""Back ends: sets of kernels. Each is a plugin, found by its entry point; nothing imports one."""

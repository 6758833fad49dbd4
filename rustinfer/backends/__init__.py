"""Back ends: each subpackage is a plugin, found by its entry point like anyone else's."""

"""The command line: one file for each verb, each imported when its verb is called and not before."""

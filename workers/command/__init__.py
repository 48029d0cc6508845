"""`command`: anything that is started, stopped and looked at by commands: a CLI's gateway, a service over ssh."""

"""Models: plain torch with published key names, and the families that a config chooses from."""

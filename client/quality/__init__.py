"""How good the labels are: agreement, suspected errors, drift. Pure cores, gathered from a store by `measured`."""
